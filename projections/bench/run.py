"""One round of each side: events, and the seconds from the first record to the last that is done."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg
from confluent_kafka import Consumer, TopicPartition

from eventstore.link import parameters
from infra.bench.figures import Clock, Round
from infra.garbage import collect_rarely
from infra.health import Health
from infra.kafka import librdkafka
from infra.logs import Lines
from projections.bench.domain import AT, EVENTS_OF_EACH, Counter
from projections.bench.place import Place
from projections.lanes.direct_lane import MOST, DirectLane
from projections.lanes.faust_lane import FaustLane, application
from projections.placed import Arrived
from projections.postgres import PostgresDatabase
from projections.publish import KafkaPublisher
from projections.sources import Batch, Done
from projections.tables import Table
from projections.worker import IN_HAND, Worker

SECONDS = 600


class Timed(Worker):
    """A worker that says how many records are left, and when it has done as many as there are."""

    def watch(self, records: int, seen: Callable[[int], None]) -> None:
        self.events = self.left = records
        self.seen = seen
        self.clock, self.done = Clock(), asyncio.get_running_loop().create_future()

    def judged(self, records: Iterable[Arrived], done: Done) -> Batch:
        self.clock.begin()
        batch = super().judged(records, done)
        return replace(batch, done=partial(self._count, len(batch), done))

    def _count(self, records: int, done: Done) -> None:
        done()
        self.left -= records
        self.seen(self.left)
        if self.left <= 0 and not self.done.done():
            self.done.set_result(self.clock.round(self.events))


Lane = type[FaustLane] | type[DirectLane]


async def lane(place: Place, kind: Lane, seen: Callable[[int], None] = lambda _: None) -> Round:
    """A lane with everything that it does in service; `seen` is told how many records are left."""
    collect_rarely(IN_HAND)
    working, noted = (PostgresDatabase(place.conninfo, place.domain) for _ in range(2))
    try:
        async with KafkaPublisher.open(place.settings, place.domain) as publisher:
            worker = Timed(place.domain, working, publisher, Lines(place.settings.principal), lambda: None)
            worker.watch(place.events, seen)
            async with kind(place.settings, place.domain, worker, noted).running(Health()), asyncio.timeout(SECONDS):
                found: Round = await worker.done
                return found
    finally:
        await working.close()
        await noted.close()


async def stock(place: Place) -> Round:
    """An agent of faust that only counts."""
    app: Any = application(place.settings, f"{place.domain.name}.stock")
    topic = app.topic(place.domain.events_topic, key_type=bytes, value_type=bytes)
    clock, done, counted = Clock(), asyncio.get_running_loop().create_future(), 0

    async def count(stream: Any) -> None:
        nonlocal counted
        async for _ in stream:
            clock.begin()
            counted += 1
            if counted == place.events:
                done.set_result(clock.round(counted))

    app.agent(topic)(count)
    await app.start()
    try:
        async with asyncio.timeout(SECONDS):
            found: Round = await done
        return found
    finally:
        await app.stop()


def consume(place: Place) -> Round:
    """confluent-kafka, which only takes the records."""
    more = {"group.id": "none", "enable.auto.commit": False, "queued.min.messages": 2 * MOST, "log_level": 0}
    consumer = Consumer(librdkafka(place.settings, **more))
    topic, partitions = place.domain.events_topic, range(place.domain.partitions)
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    left, clock = place.events, Clock()
    while left > 0:
        left -= len(consumer.consume(MOST, 0.2))
        clock.begin()
    found = clock.round(place.events)
    consumer.close()
    return found


def upsert(place: Place) -> Round:
    """PostgreSQL, which only takes a row for each event, in batches of the direct lane's size."""
    table, keys = Table(place.domain.views[0]), max(1, place.events // EVENTS_OF_EACH)
    size = min(MOST, keys)
    batches = [
        table.arrays(
            [
                Counter(counter=f"u{number % keys}", count=number, total=number, place="somewhere", changed_at=AT)
                for number in range(start, min(start + size, place.events))
            ]
        )
        for start in range(0, place.events, size)
    ]
    with psycopg.connect(autocommit=True, **parameters(place.conninfo)) as connection:
        clock = Clock()
        clock.begin()
        for batch in batches:
            connection.execute(table.save, batch, prepare=True)
        return clock.round(place.events)
