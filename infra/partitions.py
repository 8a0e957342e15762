"""Which partition of a topic holds a key."""

from functools import lru_cache
from struct import Struct

REMEMBERED = 65_536
SEED, FACTOR, BITS = 0x9747B28C, 0x5BD1E995, 0xFFFFFFFF


@lru_cache(maxsize=REMEMBERED)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, as Kafka's own default partitioner (murmur2) has it."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(key: bytes) -> int:
    """MurmurHash2 of 32 bits, as Kafka has it. aiokafka's takes byte by byte, and twice as long."""
    length = len(key)
    found = SEED ^ length
    for word in words(length // 4).unpack_from(key):
        mixed = word * FACTOR & BITS
        found = found * FACTOR & BITS ^ (mixed ^ mixed >> 24) * FACTOR & BITS
    if rest := length % 4:
        found = (found ^ int.from_bytes(key[-rest:], "little")) * FACTOR & BITS
    found = (found ^ found >> 13) * FACTOR & BITS
    return found ^ found >> 15


@lru_cache(maxsize=256)
def words(count: int) -> Struct:
    return Struct(f"<{count}I")
