"""The worker: takes records from the events topic with faust, and has them folded, published and acknowledged."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import faust
from aiokafka.errors import KafkaError
from faust.types import TP
from prometheus_client import Counter, Gauge, Histogram

from domains.kernel import Domain
from eventstore.relay import PAGE as IN_FLIGHT
from infra.kafka import MECHANISM, tls
from infra.logs import Lines
from infra.settings import Settings
from infra.telemetry import about
from projections.errors import Fenced, ProjectionError, ReadUnavailable
from projections.folding import Placed
from projections.postgres import PROJECTION, PostgresDatabase
from projections.projector import Applied, Projector
from projections.publish import Publisher, publish
from projections.records import Arrived, judge, sorted_out

log = logging.getLogger(__name__)

MOST = 1000
BUFFERED = 4000
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
GATHER_SECONDS = 0.05
FRESH_SECONDS = 0.5
LARGEST_FETCH = 4 * 1024 * 1024

EVENTS = Counter("headrace_projection_events", "Events folded", ["domain"])
DEAD = Counter("headrace_projection_dead_letters", "Records set aside", ["domain"])
POSITION = Gauge("headrace_projection_position", "Position of a partition", ["domain", "partition"])
BEHIND = Gauge("headrace_projection_waiting_records", "Records taken, but not yet folded", ["domain"])
SECONDS = Histogram("headrace_projection_batch_seconds", "Time of a batch", ["domain"])


T = TypeVar("T")
Published = Callable[[], Awaitable[int]]


class Delivery(Protocol):
    """A record that waits to be acknowledged."""

    @property
    def record(self) -> Arrived: ...

    def acknowledge(self) -> None: ...


class Worker:
    """Works batch by batch. Nothing is acknowledged before its rows are committed and published."""

    def __init__(
        self, domain: Domain, database: PostgresDatabase, publisher: Publisher, lines: Lines, moved: Callable[[], None]
    ) -> None:
        self._domain, self._database, self._publisher, self._moved = domain, database, publisher, moved
        self._projector, self._lines = Projector(domain, database), lines
        self._dead = DEAD.labels(domain.name)
        self._most = 0
        self._problem: str | None = None

    def problem(self) -> str | None:
        """Why nothing is folded now, or None."""
        return self._problem

    async def work(self, deliveries: Sequence[Delivery], published: Published) -> None:
        """Works until it is done, whatever fails meanwhile; the batch is only then acknowledged.

        What is none of our events is set aside first, so that it is never lost; a crash may set it aside once more.
        """
        records = [delivery.record for delivery in deliveries]
        good = await self._patiently(partial(self._sort_out, records, published))
        await self._patiently(partial(self._fold, good))
        for delivery in deliveries:
            delivery.acknowledge()

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """Repeats a step until it succeeds."""
        failures = 0
        while True:
            try:
                done = await step()
                self._problem = None
                return done
            except Fenced as error:
                log.info("another worker was faster: %s", error)
            except ProjectionError as error:
                self._problem = str(error)
                log.warning("the projection waits: %s", error)
            except Exception as error:
                self._problem = f"{type(error).__name__}: {error}"
                log.exception("the projection waits after an unforeseen error")
            await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1

    async def _sort_out(self, records: Sequence[Arrived], published: Published) -> list[Placed]:
        """The events of a batch, after everything else in it was set aside."""
        judged = [(record, judge(self._domain, record)) for record in records]
        if max((one.position for _, one in judged if isinstance(one, Placed)), default=0) > self._most:
            self._most = await published() + IN_FLIGHT
        good, bad = sorted_out(judged, await self._projector.marks(), self._most)
        if bad:
            await self._publisher.dead(bad)
        for letter in bad:
            log.warning("set aside %s: %s", letter.origin, letter.reason)
        self._dead.inc(len(bad))
        return good

    async def _fold(self, events: Sequence[Placed]) -> None:
        if not events:
            return
        with SECONDS.labels(self._domain.name).time():
            applied = await self._projector.apply(events)
            self._moved()
            tell_parked(applied)
            await publish(self._domain, self._database, self._publisher, applied)
        EVENTS.labels(self._domain.name).inc(len(applied.fresh))
        for event in applied.fresh:
            self._lines.write(folded(event))
            POSITION.labels(self._domain.name, event.partition).set(event.position)


@dataclass(frozen=True, slots=True)
class FaustDelivery:
    event: Any

    @property
    def record(self) -> Arrived:
        message = self.event.message
        headers = message.headers.items() if hasattr(message.headers, "items") else message.headers or ()
        return Arrived(message.topic, message.partition, message.offset, message.key, message.value, list(headers))

    def acknowledge(self) -> None:
        self.event.ack()


class FaustLane:
    """Runs a faust application in our own event loop, without its web server, tables and leader.

    faust acknowledges whatever its agent did, also after an exception; so the agent only passes events on,
    unacknowledged, and ours is the loop that works.
    """

    def __init__(self, settings: Settings, domain: Domain, worker: Worker, database: PostgresDatabase) -> None:
        self._domain, self._worker, self._database = domain, worker, database
        self._waiting: asyncio.Queue[FaustDelivery] = asyncio.Queue(BUFFERED)
        self._app = application(settings, domain)
        topic = self._app.topic(
            domain.events_topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        self._app.agent(topic, name=f"{domain.name}.{PROJECTION}")(self._take)
        self._done: dict[int, int] = {}
        self._began = False

    def problem(self) -> str | None:
        """Why no records come, or None: a worker that is refused stays up, idle."""
        if not self._began or not self._app.consumer.assignment():
            return "no partition of the events topic is assigned"
        return None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The lane, at work inside of the block."""
        await self._app.start()
        self._began = True
        tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._note_freshness())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._app.stop()

    async def _take(self, stream: Any) -> None:
        async for event in stream.noack().events():
            await self._waiting.put(FaustDelivery(event))

    async def _work(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < MOST and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            await self._worker.work(batch, self._published)
            for delivery in batch:
                self._done[delivery.event.message.partition] = delivery.event.message.offset + 1
            BEHIND.labels(self._domain.name).set(self._waiting.qsize())
            if 1 < len(batch) < MOST:
                # A busy topic is worked in larger batches; a lone event never waits.
                await asyncio.sleep(GATHER_SECONDS)

    async def _published(self) -> int:
        """How many records the topic has had, ours and others."""
        places = [TP(self._domain.events_topic, number) for number in range(self._domain.partitions)]
        try:
            ends = await self._app.consumer.highwaters(*places)
        except KafkaError as error:
            raise ReadUnavailable(f"{self._domain.events_topic}: {type(error).__name__}: {error}") from error
        return sum(ends.values())

    async def _note_freshness(self) -> None:
        """Notes now and then which partitions have nothing waiting, so that an answer can say how old it is."""
        while True:
            await asyncio.sleep(FRESH_SECONDS)
            try:
                if fresh := [
                    place.partition for place in self._app.consumer.assignment() if await self._is_fresh(place)
                ]:
                    await self._database.fresh(fresh)
            except Exception as error:
                log.debug("freshness is not noted: %s", error)

    async def _is_fresh(self, place: Any) -> bool:
        if place.topic != self._domain.events_topic:
            return False
        end = self._app.consumer.highwater(place)
        done = self._done.get(place.partition)
        if done is None:
            done = await self._app.consumer.position(place)
        return end is not None and done is not None and done >= end and self._waiting.empty()


def tell_parked(applied: Applied) -> None:
    for view, waiting in applied.parked.items():
        for one in waiting:
            told = one.event.metadata
            with about(told.request_id, told.traceparent):
                why = one.error or "it waits behind an event that failed"
                log.warning("parked %s %s of the view %s: %s", one.event.stream, one.event.version, view, why)


def folded(event: Placed) -> dict[str, Any]:
    """What the log says of an event, with the ids of the request that caused it."""
    told = event.metadata
    return {
        "message": f"folded {event.stream} {event.version}",
        "log": {"logger": "projection"},
        "event": {"sequence": event.position},
        "http": {"request": {"id": told.request_id}},
        "trace": {"id": told.traceparent and told.traceparent[3:35]},
    }


def application(settings: Settings, domain: Domain) -> Any:
    """A faust application that declares nothing, listens nowhere and unpickles nothing."""
    settings.need("kafka_bootstrap")
    credentials = faust.SASLCredentials(
        username=settings.principal, password=settings.password, mechanism=MECHANISM, ssl_context=tls(settings)
    )
    return faust.App(
        f"{domain.name}.{PROJECTION}.v1",
        broker=f"kafka://{settings.kafka_bootstrap}",
        broker_credentials=credentials,
        broker_client_id=settings.principal,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        broker_commit_interval=0.5,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=LARGEST_FETCH,
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        loghandlers=[],
        key_serializer="raw",
        value_serializer="raw",
    )
