"""A key's partition is where Kafka's own clients look for it."""

from random import Random

import pytest
from aiokafka.partitioner import murmur2 as theirs

from infra.partitions import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_it_is_what_kafka_says_of_its_own_examples(key, hashed):
    assert murmur2(key) == hashed % 2**32


def test_it_is_what_aiokafka_says_of_keys_of_all_lengths():
    chance = Random(1)
    for length in [*range(80), 255, 1023, 1024, 5000]:
        for _ in range(20):
            key = chance.randbytes(length)
            assert murmur2(key) == theirs(key) % 2**32
            assert partition_of(key, 7) == (theirs(key) & 0x7FFFFFFF) % 7
