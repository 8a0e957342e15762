"""Records of strangers are read whatever their headers are called, and keep nobody from those behind them."""

import struct

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from infra.consumer import Fetched
from tests.strange import renamed


def batch(first, *names):
    """Records that each have one header, called so."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 10_000)
    for offset, name in enumerate(names):
        builder.append(offset, 1, b"key", b"value", [("?" * len(name), b"\xff")])
    made = renamed(builder.build(), *names)
    return struct.pack(">q", first) + made[8:]


@pytest.mark.parametrize("begin", [0, 2])
def test_a_name_that_is_no_utf_8_is_escaped_and_each_record_is_read_once(begin):
    fetch = Fetched(batch(0, b"a", b"\xff\xfe", b"b") + batch(3, "\u00e9".encode()))
    read = list(PartitionRecords(TopicPartition("topic", 0), fetch, [], begin, None, None, True, READ_UNCOMMITTED))
    names = [(0, "a"), (1, "\\xff\\xfe"), (2, "b"), (3, "\u00e9")]
    assert [(record.offset, record.headers) for record in read] == [
        (offset, ((name, b"\xff"),)) for offset, name in names[begin:]
    ]
    assert {(record.key, record.value) for record in read} == {(b"key", b"value")}


def test_what_is_whole_is_left_to_the_fast_one():
    [found] = {type(one) for one in DefaultRecordBatch(batch(0, b"a"))}
    assert [type(one) for one in Fetched(batch(0, b"a")).next_batch()] == [found]
