"""Records of strangers are read whatever their headers are called, and keep nobody from those behind them."""

import struct

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from projections.lanes.direct_lane import UNREADABLE, arrived
from projections.lanes.fetched import Fetched

CRC, BEHIND_CRC = 17, 21


def batch(first, *names):
    """Records that each have one header, called so."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 10_000)
    for offset, name in enumerate(names):
        builder.append(offset, 1, b"key", b"value", [("?" * len(name), b"\xff")])
    made = builder.build()
    for name in names:
        made = made.replace(b"?" * len(name), name, 1)
    crc = struct.pack(">I", calc_crc32c(bytes(made[BEHIND_CRC:])))
    return struct.pack(">q", first) + made[8:CRC] + crc + made[BEHIND_CRC:]


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


def test_the_direct_lane_asks_once_for_headers_that_can_t_be_told():
    class Message:
        def headers(self):
            asked.append(self)
            raise SystemError("returned a result with an exception set")

        def value(self):
            return b"value"

        partition = offset = key = value

    asked = []
    assert arrived("topic", Message()).headers == UNREADABLE
    assert len(asked) == 1
