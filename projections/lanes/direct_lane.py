"""The lane for volume: a plain Kafka consumer that takes whole batches."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from operator import methodcaller
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from domains.kernel import Domain
from infra.beside import beside
from infra.health import Health
from infra.kafka import librdkafka
from infra.settings import Settings
from projections.errors import ReadUnavailable
from projections.lanes.progress import Freshness, Progress
from projections.lanes.refusal import Refusal
from projections.placed import Arrived, Headers
from projections.postgres import PROJECTION
from projections.sources import Batch
from projections.worker import Worker

log = logging.getLogger(__name__)
T = TypeVar("T")
Taken = tuple[Batch, Mapping[int, int]]  # with the offset behind it in each partition

MANY, MOST = 1000, 16_000
WAIT_SECONDS = 0.2
GATHER_SECONDS = 0.005  # what one turn of the relay sends comes by several partitions
ANSWER_SECONDS = 5.0
DENIALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
REFUSALS = DENIALS | {
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    KafkaError._AUTHENTICATION,  # noqa: SLF001  # librdkafka's own errors are named so
}
# Called plainly, the library's failure would come out of a later call: the interpreter does not look after each.
HEADERS = methodcaller("headers")
UNREADABLE: Headers = [("headrace-headers", b"not kept: the name of one is no UTF-8")]
TAKING: dict[str, Any] = {
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 1000,
    "queued.min.messages": 2 * MOST,
    "queued.max.messages.kbytes": 32 * 1024,
    "fetch.wait.max.ms": 100,
    "reconnect.backoff.max.ms": 500,
    "topic.metadata.refresh.interval.ms": 5000,
    "log_level": 3,
}


class DirectLane:
    """Takes up to `MOST` records at a time and commits their offsets after the rows.

    It is of the same consumer group as the lane of faust, and goes on where that was; Kafka refuses both at once.
    Partitions come and go when a batch is taken, maybe while another is worked; what another worker was faster with
    is passed over. One thread calls the consumer.
    """

    def __init__(self, settings: Settings, domain: Domain, worker: Worker, freshness: Freshness) -> None:
        self._domain, self._worker = domain, worker
        own = {"group.id": f"{domain.name}.{PROJECTION}.v1", "error_cb": self._erred, "on_commit": noted}
        self._consumer = Consumer(librdkafka(settings, **TAKING, **own), logger=log)
        # On the consumer's connection each question would wait behind a fetch that waits for records.
        self._admin = AdminClient(librdkafka(settings, log_level=0))
        self._progress = Progress(domain, self, freshness)
        self._thread = ThreadPoolExecutor(1, f"{domain.events_topic} consumer")
        self._refusal = Refusal()

    def problem(self) -> str | None:
        """Why records don't come or go, or None."""
        return self._refusal.problem() or self._progress.problem()

    def stuck(self) -> str | None:
        """What Kafka has denied for long, or None."""
        return self._refusal.stuck()

    @asynccontextmanager
    async def running(self, health: Health) -> AsyncIterator[None]:
        """The lane, at work inside of the block."""
        self._consumer.subscribe([self._domain.events_topic])
        try:
            async with beside(
                health,
                {
                    "lane": self._worker.run(self, self.published),
                    "progress": self._progress.watch(),
                    "publication": self._worker.publish(),
                },
            ):
                yield
        finally:
            await self._calling(self._consumer.close)
            self._thread.shutdown()

    def assigned(self) -> Collection[int]:
        return [place.partition for place in self._consumer.assignment()]

    async def ends(self) -> Mapping[int, int]:
        topic = self._domain.events_topic
        latest = {TopicPartition(topic, number): OffsetSpec.latest() for number in range(self._domain.partitions)}
        try:
            asked = self._admin.list_offsets(latest, request_timeout=ANSWER_SECONDS)
            return {place.partition: (await asyncio.wrap_future(answer)).offset for place, answer in asked.items()}
        except KafkaException as error:
            raise ReadUnavailable(f"{topic}: {error.args[0].str()}") from error

    async def begins(self, partition: int) -> int | None:
        return await self._calling(partial(self._committed, partition))

    async def published(self) -> int:
        """How many records the topic has had, ours and others."""
        return sum((await self.ends()).values())

    def _calling(self, call: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _committed(self, partition: int) -> int:
        topic = self._domain.events_topic
        try:
            [place] = self._consumer.committed([TopicPartition(topic, partition)], ANSWER_SECONDS)
        except KafkaException as error:
            raise ReadUnavailable(f"{topic}: {error.args[0].str()}") from error
        return max(0, int(place.offset))

    async def batches(self) -> AsyncIterator[Batch]:
        """What comes of the events topic."""
        taking = None
        while True:
            batch, passed = await (taking or self._calling(self._take))
            # While many wait, the next batch is read in the time that the database and Kafka take for this one.
            taking = self._calling(self._take) if len(batch) >= MANY else None
            if not batch:
                continue
            began = time.monotonic()
            yield batch
            for partition, offset in passed.items():
                self._progress.worked(partition, offset)
            if 1 < len(batch) < MANY:
                # What comes together is worked together; a lone event never waits, nor what waited for a batch.
                await asyncio.sleep(began + GATHER_SECONDS - time.monotonic())

    def _take(self) -> Taken:
        """What there is, as soon as there is something; nothing after a while."""
        taken = self._consumer.consume(1, WAIT_SECONDS)
        if taken:
            taken += self._consumer.consume(MOST - 1, 0)
        records = []
        for message in taken:
            if (error := message.error()) is None:
                records.append(message)
            else:
                self._erred(error)
        if records:
            self._refusal.over()
        passed = {message.partition(): message.offset() + 1 for message in records}
        came = map(partial(arrived, self._domain.events_topic), records)
        return self._worker.judged(came, partial(self._done, passed)), passed

    def _done(self, passed: Mapping[int, int]) -> None:
        self._calling(partial(self._acknowledge, passed))

    def _acknowledge(self, passed: Mapping[int, int]) -> None:
        """The offsets are a hint: what is lost of them comes again, and is passed over."""
        places = [TopicPartition(self._domain.events_topic, number, offset) for number, offset in passed.items()]
        try:
            self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            log.info("offsets were not committed: %s", error)

    def _erred(self, error: KafkaError) -> None:
        log.warning("the events topic: %s", error)
        if error.code() in REFUSALS or error.fatal():
            why = f"{self._domain.events_topic}: {error.str()}"
            self._refusal.refused(why, denied=error.code() in DENIALS)
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self._refusal.over()


def noted(error: KafkaError | None, _: object) -> None:
    if error is not None:
        log.info("offsets were not committed: %s", error)


def arrived(topic: str, message: Any) -> Arrived:
    try:
        headers = HEADERS(message) or []
    except (SystemError, UnicodeDecodeError):  # the name of one is no UTF-8, and what it hands out then is broken
        headers = UNREADABLE
    return Arrived(topic, message.partition(), message.offset(), message.key(), message.value(), headers)
