"""The topic gets exactly what the store has, whatever dies when."""

import asyncio
import os
import sys
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from psycopg import AsyncConnection

from eventstore.cloudevents import decode
from eventstore.errors import OutcomeUnknown, StoreUnavailable
from eventstore.kafka import KafkaTopic, looking, read
from eventstore.lead import PostgresLead
from eventstore.postgres import PostgresStore
from eventstore.records import Any, Append, NewEvent
from eventstore.relay import Relay
from infra.kafka import aiokafka
from infra.partitions import partition_of

EVENTS = 4000
KILLS = int(
    os.environ.get("HEADRACE_RELAY_KILLS", "2")
)  # of Kafka (PostgreSQL: one more), and rounds of kills of the relay
CUT_THE_LEADER = """
    SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()
"""
PROCESS = Path(__file__).with_name("relay_process.py")


async def write(store, count, seed=0):
    """Appends at a rate that leaves the relay something to do; what a crash refuses is sent again."""
    chance = Random(seed)

    async def writer(share):
        for _ in range(share):
            event = NewEvent("orders.X.v1", b'"%s"' % str(uuid4()).encode(), datetime.now(UTC))
            while True:
                try:
                    await store.append(Append(f"orders-{chance.randrange(200)}", [event], Any()))
                    break
                except OutcomeUnknown:
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)

    await asyncio.gather(*(writer(count // 8) for _ in range(8)))


async def held(topic, partition):
    """Everything that stands in a partition."""
    place = TopicPartition(topic._name, partition)
    async with looking(topic._settings, [place]) as consumer:
        end = (await consumer.end_offsets([place]))[place]
        return [decode(r.key, r.value, r.headers) for r in await read(consumer, place, 0, end)]


async def compare(store, topic):
    """Nothing lost, nothing doubled, each in its place and in order."""
    log = []
    while page := await store.read_log(after=len(log), limit=10_000):
        log += page
    in_topic = []
    for partition in range(topic.partitions):
        found = await held(topic, partition)
        in_topic += found
        assert all(partition_of(event.stream.encode(), topic.partitions) == partition for event in found)
        assert [e.position for e in found] == sorted(e.position for e in found)
    counts = Counter(event.id for event in in_topic)
    assert [event.position for event in log if counts[event.id] == 0] == [], "lost"
    assert [event.position for event in log if counts[event.id] > 1] == [], "doubled"
    assert sorted(in_topic, key=lambda event: event.position) == log


@asynccontextmanager
async def relaying(place, topic):
    async with PostgresStore.open(place.writer) as store:
        relay = Relay(store, topic, PostgresLead(place.writer), "/crash")
        task = asyncio.create_task(relay.run())
        try:
            yield relay
        finally:
            task.cancel()
            await asyncio.wait({task})


async def reached(relay, store):
    async with asyncio.timeout(60):
        while not relay.leading or relay.position < await store.head():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@asynccontextmanager
async def process(place, topic, environment):
    """A relay in a process of its own."""
    arguments = (f"-c search_path={place.schema}", "crash_events", topic._name, str(topic.partitions))
    running = await asyncio.create_subprocess_exec(sys.executable, PROCESS, *arguments, env=environment)
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def arrived(topic, at_least):
    """Waits until so many records stand in the topic."""
    places = [TopicPartition(topic._name, partition) for partition in range(topic.partitions)]
    consumer = AIOKafkaConsumer(**aiokafka(topic._settings, fetch_max_wait_ms=20))
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            while sum((await consumer.end_offsets(places)).values()) < at_least:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    finally:
        await consumer.stop()


@pytest.mark.parametrize("seed", range(1, 1 + KILLS))
async def test_the_relay_is_killed_in_mid_stream(place, topic, environment, seed):
    chance = Random(seed)
    async with PostgresStore.open(place.writer) as store:
        writing = asyncio.create_task(write(store, EVENTS, seed))
        for kill in range(3):
            async with process(place, topic, environment):
                await arrived(topic, 200 + kill * EVENTS // 8)
                await asyncio.sleep(chance.uniform(0, 0.05))
        await writing
        async with relaying(place, topic) as relay:
            await reached(relay, store)
        await compare(store, topic)


async def test_kafka_is_killed_in_mid_stream(place, topic):
    chance = Random(7)
    async with PostgresStore.open(place.writer) as store, relaying(place, topic) as relay:
        writing = asyncio.create_task(write(store, EVENTS))
        for kill in range(KILLS):
            await arrived(topic, 100 + kill * EVENTS // KILLS)
            await asyncio.sleep(chance.uniform(0, 0.05))
            await asyncio.to_thread(place.floor.kill, "kafka")
            await asyncio.to_thread(place.revive, "kafka")
        await writing
        await reached(relay, store)
        await compare(store, topic)


async def test_postgresql_is_killed_in_mid_stream(place, topic):
    async with PostgresStore.open(place.writer) as store, relaying(place, topic) as relay:
        writing = asyncio.create_task(write(store, EVENTS))
        for kill in range(KILLS + 1):
            await arrived(topic, 100 + kill * EVENTS // (KILLS + 2))
            await asyncio.to_thread(place.floor.kill, "postgres")
            await asyncio.to_thread(place.revive, "postgres")
        await writing
        await reached(relay, store)
        assert relay.problem() is None
        await compare(store, topic)


async def test_one_leads_and_the_other_takes_over(place, topic, environment):
    async with PostgresStore.open(place.writer) as store:
        async with process(place, topic, environment):
            await write(store, 80)
            await arrived(topic, 80)
            async with relaying(place, topic) as second:
                await write(store, 80)
                await arrived(topic, 160)
                assert (second.leading, second.problem()) == (False, None)
        async with relaying(place, topic) as second:
            await write(store, 80)
            await reached(second, store)
            assert second.leading
        await compare(store, topic)


async def test_who_loses_the_lead_stops_and_begins_anew(place, topic):
    async with PostgresStore.open(place.writer) as store, relaying(place, topic) as relay:
        await write(store, 80)
        await reached(relay, store)
        async with await AsyncConnection.connect(place.writer, autocommit=True) as same:
            await same.execute(CUT_THE_LEADER)
        async with asyncio.timeout(20):
            while relay.problem() is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        await write(store, 80)
        await reached(relay, store)
        await compare(store, topic)


async def test_a_topic_that_refuses_is_a_reason_and_no_end(place, floor):
    async with (
        PostgresStore.open(place.writer) as store,
        KafkaTopic.open(floor.settings("crash-write"), "crash.unknown.v1", 4) as nowhere,
        relaying(place, nowhere) as relay,
    ):
        await write(store, 8)
        async with asyncio.timeout(60):
            while "crash.unknown.v1" not in (relay.problem() or ""):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert relay.position == 0
