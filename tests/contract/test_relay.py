"""What a topic promises to the relay, and the relay to everyone: nothing lost, nothing doubled, in order."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import monotonic
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from confluent_kafka import Producer
from msgspec.structs import replace

from domains.plan import ANY_TIME, FOREVER
from eventstore.cloudevents import Record, decode, encode
from eventstore.errors import TopicUnavailable
from eventstore.kafka import KafkaTopic, looking, read
from eventstore.lead import Alone
from eventstore.memory import MemoryStore
from eventstore.records import Any, Append, NewEvent, RecordedEvent
from eventstore.relay import Relay
from eventstore.topic import MemoryTopic
from infra.kafka import librdkafka
from infra.partitions import partition_of
from infra.plan import Acl, Topic
from tests import strange

PARTITIONS = 4
SOURCE = "/orders"
MOMENT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


class InMemory(MemoryTopic):
    """The twin, with what the suite needs to look at it and to disturb it."""

    async def put(self, partition, *records):
        self.records[partition] += records

    async def put_strange(self, partition):
        """A record with a header whose name is no UTF-8."""
        await self.put(partition, Record(b"orders-1", b"not json", [("\\xff", b"x")], 0))

    async def held(self, partition):
        return list(self.records[partition])


class OnKafka(KafkaTopic):
    async def put(self, partition, *records):
        producer = Producer(librdkafka(self._settings))
        for record in records:
            producer.produce(
                self._name, record.value, record.key, partition, timestamp=record.timestamp_ms, headers=record.headers
            )
        assert await asyncio.to_thread(producer.flush, 20) == 0

    async def put_strange(self, partition):
        await asyncio.to_thread(strange.send, self._settings, self._name, partition, b"orders-1", b"not json")

    async def held(self, partition):
        place = TopicPartition(self._name, partition)
        async with looking(self._settings, [place]) as consumer:
            end = (await consumer.end_offsets([place]))[place]
            return [replace(record, headers=list(record.headers)) for record in await read(consumer, place, 0, end)]


@asynccontextmanager
async def on_kafka(floor):
    name = f"contract.events-{uuid4().hex}.v1"
    floor.create_topic(Topic(name, PARTITIONS, {**FOREVER, **ANY_TIME}))
    floor.allow(Acl("contract-write", "topic", name, ("READ", "WRITE", "DESCRIBE")))
    async with OnKafka.open(floor.settings("contract-write"), name, PARTITIONS) as topic:
        yield topic


@pytest.fixture(params=["memory", "kafka"])
async def topic(request):
    """An empty topic of each kind."""
    if request.param == "memory":
        yield InMemory(PARTITIONS)
    else:
        async with on_kafka(request.getfixturevalue("floor")) as topic:
            yield topic


def event(position, stream="orders-1", **changes):
    recorded = RecordedEvent(
        position=position,
        stream=stream,
        version=position,
        id=uuid4(),
        type="orders.OrderPlaced.v1",
        time=MOMENT,
        recorded_at=MOMENT,
        data=b'{"number":%d}' % position,
        metadata=NewEvent("x", b"", MOMENT).metadata,
    )
    return replace(recorded, **changes)


def placed(*events):
    return [(place(e.stream), encode(e, SOURCE)) for e in events]


def place(stream):
    return partition_of(stream.encode(), PARTITIONS)


def stream_in(partition):
    return next(f"orders-{n}" for n in range(1000) if place(f"orders-{n}") == partition)


async def everything_is_genuine(event):  # noqa: ARG001
    return True


async def test_an_empty_topic_has_no_tails(topic):
    assert list(await topic.tails(everything_is_genuine)) == [0] * PARTITIONS


async def test_a_published_record_is_there_as_it_was(topic):
    sent = encode(event(1, time=datetime(1960, 1, 1, tzinfo=UTC)), SOURCE)
    await topic.publish([(2, sent), (2, encode(event(2), SOURCE))])
    [first, second] = await topic.held(2)
    assert (first, second.timestamp_ms) == (sent, 1291191960000)


async def test_each_tail_is_the_last_position_of_its_partition(topic):
    await topic.publish(placed(*(event(n, stream_in(n % 3)) for n in range(1, 101))))
    assert list(await topic.tails(everything_is_genuine)) == [99, 100, 98, 0]


async def test_order_is_kept_in_each_partition(topic):
    await topic.publish(placed(*(event(n, f"orders-{n % 17}") for n in range(1, 2001))))
    for partition in range(PARTITIONS):
        positions = [decode(r.key, r.value, r.headers).position for r in await topic.held(partition)]
        assert positions == sorted(set(positions))


async def test_foreign_records_at_the_end_are_walked_over(topic):
    await topic.publish(placed(event(7, stream_in(1))))
    foreign = [
        Record(b"orders-1", b"not json", [], 0),
        Record(b"x", b"{}", [("content-type", b"application/json"), ("binary", b"\xff")], 0),
        encode(event(9, stream_in(0)), SOURCE),
    ]
    await topic.put(1, *foreign * 50)
    await topic.put_strange(1)
    assert (await topic.tails(everything_is_genuine))[1] == 7


async def test_an_event_that_the_store_does_not_have_is_walked_over(topic):
    ours = event(3, stream_in(1))
    await topic.publish(placed(ours, event(900, stream_in(1))))

    async def genuine(found):
        return found.id == ours.id

    assert (await topic.tails(genuine))[1] == 3


async def test_what_a_former_leader_repeated_does_not_lower_the_tail(topic):
    await topic.publish(placed(*(event(n, stream_in(1)) for n in (1, 2, 3, 1, 2))))
    assert (await topic.tails(everything_is_genuine))[1] == 3


async def filled(store, count, streams=7):
    for n in range(count):
        await store.append(Append(f"orders-{n % streams}", [NewEvent("orders.X.v1", b"%d" % n, MOMENT)], Any()))


@asynccontextmanager
async def relaying(store, topic):
    relay = Relay(store, topic, Alone(), SOURCE)
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        task.cancel()
        await asyncio.wait({task})


async def caught_up(relay, position):
    async with asyncio.timeout(30):
        while relay.position < position:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def agree(store, topic):
    """The topic has exactly the store's events, each in its place and in order."""
    log = await store.read_log(limit=10_000)
    for partition in range(topic.partitions):
        found = [decode(r.key, r.value, r.headers) for r in await topic.held(partition)]
        assert found == [e for e in log if place(e.stream) == partition]


async def test_the_relay_carries_what_is_there_and_what_comes(topic):
    store = MemoryStore()
    await filled(store, 1200)
    async with relaying(store, topic) as relay:
        await caught_up(relay, 1200)
        await filled(store, 30)
        await caught_up(relay, 1230)
        assert (relay.leading, relay.lag, relay.problem()) == (True, 0, None)
    await agree(store, topic)


async def test_a_relay_that_begins_again_repeats_nothing_and_leaves_nothing_out(topic):
    store = MemoryStore()
    for count in (1, 0, 40, 700):
        await filled(store, count)
        async with relaying(store, topic) as relay:
            await caught_up(relay, await store.head())
    await agree(store, topic)


async def test_a_relay_that_is_cut_off_anywhere_repeats_nothing_and_leaves_nothing_out(topic, monkeypatch):
    monkeypatch.setattr("eventstore.relay.SETTLE_SECONDS", 0)  # so that it is cut off while it sends
    store = MemoryStore()
    await filled(store, 3000, streams=40)
    for cut in range(10):
        async with relaying(store, topic):
            await asyncio.sleep(0.004 * cut)
    async with relaying(store, topic) as relay:
        await caught_up(relay, 3000)
    await agree(store, topic)


@pytest.mark.parametrize("whole", [True, False])
async def test_what_a_killed_leader_has_sent_may_arrive_after_the_topic_answered(topic, monkeypatch, whole):
    store = MemoryStore()
    await filled(store, 60)
    log = await store.read_log()
    late = [e for e in log if whole or place(e.stream) == place(log[-1].stream)]
    await topic.publish(placed(*(e for e in log if e not in late)))
    asked, tails = asyncio.Event(), topic.tails

    async def tails_and_then_more(genuine):
        found = await tails(genuine)
        if not asked.is_set():
            asked.set()
            for partition, record in placed(*late):
                await topic.put(partition, record)
        return found

    monkeypatch.setattr(topic, "tails", tails_and_then_more)
    async with relaying(store, topic) as relay:
        await caught_up(relay, 60)
    await agree(store, topic)


async def test_a_partition_that_fell_behind_gets_only_what_it_lacks(topic):
    store = MemoryStore()
    await filled(store, 100)
    log = await store.read_log()
    await topic.publish([(place(e.stream), encode(e, SOURCE)) for e in log if place(e.stream) == 1 or e.position < 20])
    async with relaying(store, topic) as relay:
        await caught_up(relay, 100)
    await agree(store, topic)


async def test_a_forged_event_with_a_far_position_makes_the_relay_skip_nothing(topic):
    store = MemoryStore()
    await filled(store, 50)
    await topic.put(place("orders-1"), encode(event(40, "orders-1"), SOURCE))
    await topic.put(place("orders-1"), encode(event(4_000_000, "orders-1"), SOURCE))
    async with relaying(store, topic) as relay:
        await caught_up(relay, 50)
    found = Counter([decode(r.key, r.value, r.headers).id for p in range(PARTITIONS) for r in await topic.held(p)])
    assert all(found[e.id] == 1 for e in await store.read_log())


async def test_a_topic_with_another_number_of_partitions_is_refused(floor):
    async with on_kafka(floor) as topic:
        other = KafkaTopic(floor.settings("contract-write"), topic._name, 3)
        with pytest.raises(TopicUnavailable, match="has 4 partitions, 3 are declared"):
            await other.tails(everything_is_genuine)


@pytest.mark.parametrize(
    ("bytes_each", "sizes"), [(100, [250, 500, 1000, 2000, 2000]), (100_000, [250, 83, 83, 83])], ids=["small", "large"]
)
async def test_pages_grow_with_what_waits_and_are_bounded_in_bytes(monkeypatch, bytes_each, sizes):
    store, topic, asked = MemoryStore(), InMemory(PARTITIONS), []
    data = b'"%s"' % (bytes_each * b"x")
    for _ in range(sum(sizes)):
        await store.append(Append("orders-1", [NewEvent("orders.X.v1", data, MOMENT)], Any()))
    read_log = store.read_log

    async def noted(*, limit, **more):
        asked.append(limit)
        return await read_log(limit=limit, **more)

    monkeypatch.setattr(store, "read_log", noted)
    async with relaying(store, topic) as relay:
        await caught_up(relay, sum(sizes))
    assert asked[: len(sizes)] == sizes
    await agree(store, topic)


class Lying(MemoryStore):
    """A store that is told, by whoever may connect to the database, of events that are not there."""

    def __init__(self):
        super().__init__()
        self.reads = 0

    async def read_log(self, **bounds):
        self.reads += 1
        return await super().read_log(**bounds)

    async def wait_beyond(self, position, seconds):  # noqa: ARG002
        return position + 1_000_000


async def test_a_head_that_is_not_there_neither_stops_the_relay_nor_keeps_it_busy(monkeypatch):
    monkeypatch.setattr("eventstore.relay.GATHER_SECONDS", 0.05)
    store, topic = Lying(), InMemory(PARTITIONS)
    await filled(store, 3)
    async with relaying(store, topic) as relay:
        await caught_up(relay, 3)
        began, wanted = monotonic(), store.reads + 6
        async with asyncio.timeout(30):
            while store.reads < wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert monotonic() - began > 5 * 0.05 - 0.02
        await filled(store, 1)
        await caught_up(relay, 4)
    await agree(store, topic)
