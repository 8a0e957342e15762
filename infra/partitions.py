"""Which partition of a topic holds a key."""

from functools import lru_cache

from aiokafka.partitioner import murmur2

REMEMBERED = 65_536  # murmur2 in Python takes as long as all other looks at a key together


@lru_cache(maxsize=REMEMBERED)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, as Kafka's own default partitioner (murmur2) has it."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions
