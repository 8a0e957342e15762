"""The commands topic: what was accepted goes there, and comes back to be done."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from aiokafka import AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka.errors import KafkaError

from domains.errors import StrangeCommand
from domains.kernel import Domain
from domains.operations import Desk, Headers
from domains.plan import LARGEST_RECORD, ROOM_FOR_ORIGIN
from eventstore.errors import EventStoreError
from infra.consumer import consumer as reader
from infra.kafka import aiokafka
from infra.producer import given_up
from infra.settings import Settings
from infra.web import Problem

log = logging.getLogger(__name__)

SEND_SECONDS = 5.0
REST_SECONDS = 8.0  # Kafka waits for 10 until it gives our partitions to others all the same
PAUSE_SECONDS = 0.5
MOST_RECORDS = 200
LARGEST_REQUEST = LARGEST_RECORD + ROOM_FOR_ORIGIN
ORIGIN = "headrace-origin-"


class TopicWriter:
    """Publishes to one topic. It connects when it is first needed: Kafka may come later than we do."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings, self._topic = settings, topic
        self._producer: Any = None
        self._starting = asyncio.Lock()

    async def __call__(self, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Returns when the record is safe. Raises `Problem` 503."""
        if value is None and key is None:
            key = b""  # aiokafka sends no record that has neither
        producer: Any = None
        try:
            async with asyncio.timeout(SEND_SECONDS):
                producer = await self._started()
                await producer.send_and_wait(self._topic, value, key, headers=list(headers))
        except (KafkaError, TimeoutError, OSError) as error:
            log.warning("%s cannot be reached: %r", self._topic, error)
            if producer is None:
                raise unpublished("store-unavailable", "the command was not accepted; repeat it") from None
            if producer is self._producer and not isinstance(error, TimeoutError):
                # An idempotent producer that failed may fail for ever: the next record has a new one.
                self._producer = None
                await given_up(producer)
            # What was handed to a producer may arrive as long as that lives.
            told = "whether the command is accepted can't be told yet; repeat it with the same key"
            raise unpublished("outcome-unknown", told) from None

    async def close(self) -> None:
        if self._producer is not None:
            await given_up(self._producer)

    async def _started(self) -> Any:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **aiokafka(self._settings, enable_idempotence=True, acks="all", max_request_size=LARGEST_REQUEST)
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
        return self._producer


def unpublished(slug: str, detail: str) -> Problem:
    return Problem(503, slug, detail, headers={"retry-after": "1"})


class Intake:
    """Reads the commands topic and has each command done: in order for each stream, all streams at once."""

    def __init__(self, settings: Settings, domain: Domain, desk: Desk, dead: TopicWriter) -> None:
        self._settings, self._domain, self._desk, self._dead = settings, domain, desk, dead
        self._resting, self._idle = False, asyncio.Event()
        self._idle.set()

    async def rest(self) -> None:
        """Ends what is in work and begins nothing more, until `go_on`: two processes could decide differently."""
        self._resting = True
        try:
            async with asyncio.timeout(REST_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            log.warning("a command is still in work while its partition goes elsewhere")

    def go_on(self) -> None:
        self._resting = False

    async def run(self) -> None:
        """Until cancelled. What is not done yet is read again, by us or by another process."""
        while True:
            try:
                async with self._reading() as consumer:
                    while True:
                        await self._some(consumer)
            except (KafkaError, OSError) as error:
                log.warning("the commands wait: %r", error)
            except Exception:
                log.exception("the commands wait after an unforeseen error")
            await asyncio.sleep(PAUSE_SECONDS)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Any]:
        topic = self._domain.commands_topic
        told = {"group_id": topic, "enable_auto_commit": False, "auto_offset_reset": "earliest"}
        consumer = reader(self._settings, **told)
        consumer.subscribe([topic], listener=Handover(self))
        try:
            await consumer.start()
            yield consumer
        finally:
            await consumer.stop()

    async def _some(self, consumer: Any) -> None:
        found = await consumer.getmany(timeout_ms=1000, max_records=MOST_RECORDS)
        records = sorted((one for some in found.values() for one in some), key=lambda one: one.key or b"")
        self._idle.clear()
        try:
            async with asyncio.TaskGroup() as lanes:
                for _, lane in groupby(records, key=lambda one: one.key or b""):
                    lanes.create_task(self._lane(list(lane)))
        finally:
            self._idle.set()
        if records and not self._resting:
            await consumer.commit()

    async def _lane(self, records: Iterable[Any]) -> None:
        for record in records:
            while not self._resting:
                if await self._done(record):
                    break
                await asyncio.sleep(PAUSE_SECONDS)

    async def _done(self, record: Any) -> bool:
        """Whether a record needs no more work: its command is done, or it is set aside byte for byte."""
        try:
            try:
                await self._desk.do(record.value)
            except StrangeCommand as error:
                log.warning("%s/%s@%s is set aside: %s", record.topic, record.partition, record.offset, error)
                await self._dead(record.key, record.value, [*record.headers, *origin(record, str(error))])
        except (Problem, EventStoreError) as error:
            log.warning("a command waits: %s", error)
            return False
        return True


class Handover(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Before partitions go to another process, what is in work here comes to its end."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def on_partitions_revoked(self, revoked: object) -> None:  # noqa: ARG002  # whichever they are
        await self._intake.rest()

    def on_partitions_assigned(self, assigned: object) -> None:  # noqa: ARG002
        self._intake.go_on()


def origin(record: Any, reason: str) -> Headers:
    """Where a record came from, and why it is set aside."""
    told = {ORIGIN + name: str(getattr(record, name)) for name in ("topic", "partition", "offset")}
    told |= {"headrace-reason": reason, "headrace-failed-at": datetime.now(UTC).isoformat()}
    return [(name, value.encode()) for name, value in told.items()]
