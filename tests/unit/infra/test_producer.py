"""How records become batches: in their order, one for each partition at a time."""

from types import SimpleNamespace

from aiokafka.producer.message_accumulator import BatchBuilder

from infra.producer import Outgoing, in_turns

LIMIT = 1100


def outgoing(topic, partition, value):
    return Outgoing(topic, partition, b"key", value, [("name", b"value")])


def turns(*records):
    return in_turns(SimpleNamespace(create_batch=lambda: BatchBuilder(LIMIT, 0)), records)


def places(turn):
    return [(topic, partition, batch.record_count()) for batch, topic, partition in turn]


def test_partitions_of_several_topics_go_out_together():
    [turn] = turns(outgoing("a", 0, b"1"), outgoing("b", 3, b"2"), outgoing("a", 0, b"3"), outgoing("a", 1, b"4"))
    assert places(turn) == [("a", 0, 2), ("b", 3, 1), ("a", 1, 1)]


def test_what_exceeds_a_batch_takes_the_next_turn():
    found = turns(*(outgoing("a", 0, b"%03d" % n * 100) for n in range(7)), outgoing("b", 0, b"small"))
    assert places(found[0]) == [("a", 0, 3), ("b", 0, 1)]
    assert [places(turn) for turn in found[1:]] == [[("a", 0, 3)], [("a", 0, 1)]]
    sent = b"".join(bytes(batch._build()) for turn in found for batch, topic, _ in turn if topic == "a")
    numbers = [sent.index(b"%03d" % n * 100) for n in range(7)]
    assert numbers == sorted(numbers)


def test_a_record_larger_than_a_batch_goes_alone():
    found = turns(outgoing("a", 0, b"small"), outgoing("a", 0, b"x" * 5 * LIMIT), outgoing("a", 0, b"small"))
    assert [places(turn) for turn in found] == [[("a", 0, 1)]] * 3


def test_no_records_are_no_batches():
    assert turns() == []
