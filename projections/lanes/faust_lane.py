"""The lane of faust: many workers share the partitions."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import faust
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from domains.kernel import Domain
from infra.beside import beside
from infra.health import Health
from infra.kafka import MECHANISM, tls
from infra.settings import Settings
from projections.errors import ReadUnavailable
from projections.lanes.faust_consumer import Fetches, Straight, to_end
from projections.lanes.progress import Freshness, Progress
from projections.lanes.refusal import Refusal
from projections.placed import Arrived
from projections.postgres import PROJECTION
from projections.sources import Batch
from projections.worker import Worker

log = logging.getLogger(__name__)

MOST = 4000
BUFFERED_BYTES = 8 * 1024 * 1024
GATHER_SECONDS = 0.005  # what one turn of the relay sends comes by several partitions
BEGIN_SECONDS = 45.0  # a rebalance may be waited for
PAUSE_SECONDS, DENIED_SECONDS = 0.5, 2.0
ANSWER_SECONDS = 5.0
LARGEST_FETCH = 4 * 1024 * 1024
DENIALS = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError)


class FaustLane:
    """Runs a faust application in our own event loop, without its web server, tables and leader.

    faust acknowledges whatever its agent did, also after an exception; so its agent, which says what to subscribe to,
    sees no record: they come by a queue, unacknowledged, and ours is the loop that works.
    """

    def __init__(self, settings: Settings, domain: Domain, worker: Worker, freshness: Freshness) -> None:
        self._settings, self._domain, self._worker = settings, domain, worker
        self._progress, self._refusal = Progress(domain, self, freshness), Refusal()
        self._over = False
        self._replace()

    def _replace(self) -> None:
        """An application that has not begun yet: one that has crashed can't begin again."""
        self._waiting = Fetches(BUFFERED_BYTES)
        self._app = application(self._settings, f"{self._domain.name}.{PROJECTION}.v1", broker_max_poll_records=MOST)
        topic = self._app.topic(
            self._domain.events_topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        self._app.agent(topic, name=f"{self._domain.name}.{PROJECTION}")(nothing)
        self._app.transport.Consumer = partial(Straight, self._waiting)
        self._began = self._working = False
        self._beginning: asyncio.Timeout | None = None

    def problem(self) -> str | None:
        """Why records don't come or go, or None."""
        return self._refusal.problem() or self._progress.problem()

    def stuck(self) -> str | None:
        """What Kafka has denied for long, or None."""
        return self._refusal.stuck()

    @asynccontextmanager
    async def running(self, health: Health) -> AsyncIterator[None]:
        """The lane, at work inside of the block."""
        async with beside(
            health,
            {"lane": self._keep_at_work(), "progress": self._progress.watch(), "publication": self._worker.publish()},
        ):
            try:
                yield
            finally:
                self._over = True

    async def _keep_at_work(self) -> None:
        """Replaces an application that crashed, or that does not come to its beginning.

        faust begins only where there is a broker. aiokafka gives up for ever, for example, when it is told of no broker
        at the wrong moment; faust then waits. What stops in the midst of a beginning may swallow that it was cancelled.
        """
        while not self._over:
            try:
                await self._until_it_crashes()
            except TimeoutError:
                log.warning("faust has not begun within %d s, or was denied what it needs", BEGIN_SECONDS)
            except KafkaError as error:
                log.warning("faust can't go on: %s", error)
            except asyncio.CancelledError:
                if to_end():
                    raise
                log.warning("faust has ended, and cancelled what it was asked")
            except Exception:
                log.exception("faust ended with an unforeseen error")
            await asyncio.sleep(DENIED_SECONDS if self._refusal.problem() else PAUSE_SECONDS)
            log.warning("faust is begun anew")
            self._replace()

    async def _until_it_crashes(self) -> None:
        try:
            async with asyncio.timeout(BEGIN_SECONDS) as self._beginning:
                await self._app.start()
            self._began = True
            work = asyncio.create_task(self._worker.run(self, self.published))
            try:
                await self._app.wait(work)
            finally:
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
            if isinstance(self._app.crash_reason, KafkaError):
                raise self._app.crash_reason
        except KafkaError as error:
            self._failed(error)
            raise
        finally:
            self._began, self._beginning = False, None
            await self._app.stop()
            self._app.consumer.dispose()

    def assigned(self) -> Collection[int]:
        if not self._began:
            return ()
        try:
            places = self._app.consumer.assignment()
        except ConsumerNotStarted:
            return ()
        return [place.partition for place in places if place.topic == self._domain.events_topic]

    async def ends(self) -> Mapping[int, int]:
        places = [TP(self._domain.events_topic, number) for number in range(self._domain.partitions)]
        ends = await self._asked(lambda consumer: consumer.highwaters(*places))
        return {place.partition: end for place, end in ends.items()}

    async def begins(self, partition: int) -> int | None:
        if self._working or not self._waiting.empty():
            return None
        place = TP(self._domain.events_topic, partition)
        position: int | None = await self._asked(lambda consumer: consumer.position(place))
        return position

    async def _asked(self, question: Callable[[Any], Awaitable[Any]]) -> Any:
        """What the consumer answers. One that stops meanwhile never does, or cancels it. Raises `ReadUnavailable`."""
        if self._beginning is None:
            raise ReadUnavailable("faust has not begun")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                # Also while faust begins: without its group it waits for partitions, and says nothing.
                await self._app.consumer.check(self._domain.events_topic)
                if not self._began:
                    raise ReadUnavailable("faust has not begun")
                return await question(self._app.consumer)
        except (KafkaError, ConsumerNotStarted, TimeoutError) as error:
            self._failed(error)
            if isinstance(error, DENIALS):
                await self._give_up(error)
            raise ReadUnavailable(f"{self._domain.events_topic}: {type(error).__name__}: {error}") from error
        except asyncio.CancelledError:
            if to_end():
                raise
            raise ReadUnavailable("faust has ended") from None

    async def _give_up(self, error: Exception) -> None:
        """What aiokafka has ended since it was denied, nobody begins again when the right comes back."""
        if self._began:
            await self._app.crash(error)
        elif self._beginning is not None and not self._beginning.expired():
            self._beginning.reschedule(0)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, DENIALS):
            self._refusal.refused(f"{self._domain.events_topic}: {error}", denied=True)
        elif isinstance(error, KafkaConnectionError):
            self._refusal.over()

    async def published(self) -> int:
        """How many records the topic has had, ours and others."""
        return sum((await self.ends()).values())

    async def batches(self) -> AsyncIterator[Batch]:
        """What comes of the events topic."""
        while True:
            batch = list(await self._waiting.get())
            self._working, began = True, time.monotonic()
            self._refusal.over()
            while len(batch) < MOST and not self._waiting.empty():
                batch += self._waiting.get_nowait()
            passed = {record.partition: record.offset + 1 for record in batch}
            done = partial(self._acknowledge, self._app.consumer, passed)
            yield self._worker.judged(map(arrived, batch), done)
            for partition, offset in passed.items():
                self._progress.worked(partition, offset)
            self._working = False
            if 1 < len(batch) < MOST:
                # What comes together is worked together; a lone event never waits, nor what waited for a batch.
                await asyncio.sleep(began + GATHER_SECONDS - time.monotonic())

    def _acknowledge(self, consumer: Straight, passed: Mapping[int, int]) -> None:
        for partition, offset in passed.items():
            consumer.done(TP(self._domain.events_topic, partition), offset)


async def nothing(stream: Any) -> None:
    async for _ in stream.noack().events():
        raise AssertionError("records come by the queue")


def arrived(record: Any) -> Arrived:
    return Arrived(record.topic, record.partition, record.offset, record.key, record.value, list(record.headers))


def application(settings: Settings, group: str, **more: Any) -> Any:
    """A faust application that declares nothing, listens nowhere and unpickles nothing."""
    settings.need("kafka_bootstrap")
    credentials = faust.SASLCredentials(
        username=settings.principal, password=settings.password, mechanism=MECHANISM, ssl_context=tls(settings)
    )
    return faust.App(
        group,
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
        **more,
    )
