"""One round of each side: events, and the seconds from the first record to the last that is done."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import psycopg
from confluent_kafka import Consumer, TopicPartition

from eventstore.bench.figures import Round
from eventstore.link import parameters
from infra.kafka import librdkafka
from infra.logs import Lines
from projections.bench.domain import AT, EVENTS_OF_EACH, Counter
from projections.bench.place import Place
from projections.lanes.direct_lane import MOST, DirectLane
from projections.lanes.faust_lane import FaustLane, application
from projections.postgres import PostgresDatabase
from projections.publish import KafkaPublisher
from projections.records import Arrived
from projections.tables import Table
from projections.worker import Published, Worker, collect_less

SECONDS = 600


class Timed(Worker):
    """A worker that says when it has done as many records as there are."""

    def watch(self, records: int) -> None:
        self.left, self.began, self.ended, self.done = records, 0.0, 0.0, asyncio.Event()

    async def work(self, records: Sequence[Arrived], published: Published) -> None:
        self.began = self.began or perf_counter()
        await super().work(records, published)
        self.left -= len(records)
        if self.left <= 0:
            self.ended = perf_counter()
            self.done.set()


async def lane(place: Place, kind: type[FaustLane] | type[DirectLane]) -> Round:
    """A lane with everything that it does in service."""
    collect_less()
    working, noted = (PostgresDatabase(place.conninfo, place.domain) for _ in range(2))
    publisher = KafkaPublisher(place.settings, place.domain)
    worker = Timed(place.domain, working, publisher, Lines(place.settings.principal), lambda: None)
    worker.watch(place.events)
    try:
        async with kind(place.settings, place.domain, worker, noted).running(), asyncio.timeout(SECONDS):
            await worker.done.wait()
    finally:
        await working.close()
        await noted.close()
    return Round(place.events, worker.ended - worker.began)


async def stock(place: Place) -> Round:
    """An agent of faust that only counts."""
    app: Any = application(place.settings, f"{place.domain.name}.stock")
    topic = app.topic(place.domain.events_topic, key_type=bytes, value_type=bytes)
    done, counted = asyncio.Event(), [0, 0.0]

    async def count(stream: Any) -> None:
        async for _ in stream:
            counted[1] = counted[1] or perf_counter()
            counted[0] += 1
            if counted[0] == place.events:
                done.set()

    app.agent(topic)(count)
    await app.start()
    try:
        async with asyncio.timeout(SECONDS):
            await done.wait()
        return Round(place.events, perf_counter() - counted[1])
    finally:
        await app.stop()


def consume(place: Place) -> Round:
    """confluent-kafka, which only takes the records."""
    more = {"group.id": "none", "enable.auto.commit": False, "queued.min.messages": 2 * MOST, "log_level": 0}
    consumer = Consumer(librdkafka(place.settings, **more))
    topic, partitions = place.domain.events_topic, range(place.domain.partitions)
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    left, began = place.events, 0.0
    while left > 0:
        left -= len(consumer.consume(MOST, 0.2))
        began = began or perf_counter()
    seconds = perf_counter() - began
    consumer.close()
    return Round(place.events, seconds)


def upsert(place: Place) -> Round:
    """PostgreSQL, which only takes a row for each event, in batches of the direct lane's size."""
    table, keys = Table(place.domain.views[0]), max(1, place.events // EVENTS_OF_EACH)
    batches = [
        table.arrays(
            [
                Counter(counter=f"u{number % keys}", count=number, total=number, place="somewhere", changed_at=AT)
                for number in range(start, min(start + MOST, start + keys, place.events))
            ]
        )
        for start in range(0, place.events, min(MOST, keys))
    ]
    with psycopg.connect(autocommit=True, **parameters(place.conninfo)) as connection:
        began = perf_counter()
        for batch in batches:
            connection.execute(table.save, batch, prepare=True)
        return Round(place.events, perf_counter() - began)
