"""Publishes changed rows, dead letters, and what was skipped."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from msgspec.structs import astuple

from domains.kernel import Domain, Row
from domains.plan import LARGEST_RECORD
from eventstore.cloudevents import encode
from eventstore.records import RecordedEvent
from infra.errors import NotPublished
from infra.partitions import partition_of
from infra.producer import Outgoing, Producer
from infra.settings import Settings
from projections.errors import ReadUnavailable
from projections.placed import Headers
from projections.records import DeadLetter
from projections.rows import AnyView

log = logging.getLogger(__name__)

LARGEST_ROW = LARGEST_RECORD - 1024  # around each record stand its headers, and those of a batch
JSON: Headers = [("content-type", b"application/json")]
ONLY_PARTITION = 0
# The producer itself waits for ever for a broker that is away; who waits for it must be able to say so.
SEND_SECONDS = 20.0


Changed = tuple[AnyView, Mapping[str, Row | None]]


class Publisher(Protocol):
    """Where rows, dead letters and skips go."""

    async def rows(self, *changed: Changed) -> None:
        """The rows as they are now; None: there is none. Raises `ReadUnavailable`."""

    async def dead(self, letters: Sequence[DeadLetter]) -> None:
        """Sets records aside. When it returns they are safe. Raises `ReadUnavailable`."""

    async def skips(self, events: Sequence[RecordedEvent]) -> None:
        """Tells what people took out of views. Raises `ReadUnavailable`."""


class KafkaPublisher:
    """Publishes in order, and returns when all is acknowledged."""

    def __init__(self, settings: Settings, domain: Domain) -> None:
        self._settings, self._domain = settings, domain
        self._producer = Producer(settings)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, domain: Domain) -> AsyncIterator["KafkaPublisher"]:
        """A publisher for the time of a `with`; it connects when there is something to publish."""
        publisher = cls(settings, domain)
        try:
            yield publisher
        finally:
            await publisher._producer.close()

    async def rows(self, *changed: Changed) -> None:
        partitions = self._domain.partitions
        each = (
            (self._domain.view_topic(view), key.encode(), row) for view, rows in changed for key, row in rows.items()
        )
        await self._send(
            Outgoing(topic, partition_of(key, partitions), key, value, JSON)
            for topic, key, row in each
            if fits(topic, key, value := row_json(row))
        )

    async def dead(self, letters: Sequence[DeadLetter]) -> None:
        topic = self._domain.dead_letter_topic
        await self._send(
            Outgoing(topic, ONLY_PARTITION, letter.record.key, letter.record.value, letter.headers)
            for letter in letters
        )

    async def skips(self, events: Sequence[RecordedEvent]) -> None:
        topic, source = self._domain.skips_topic, f"/{self._domain.name}/skips"
        await self._send(Outgoing(topic, ONLY_PARTITION, *astuple(encode(event, source))) for event in events)

    async def _send(self, records: Iterable[Outgoing]) -> None:
        """Raises `ReadUnavailable` when a record was not taken, one of these or of another caller at the same time."""
        producer = self._producer
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await producer.send(records)
        except NotPublished as error:
            raise ReadUnavailable(f"Kafka did not take a record: {error}") from error
        except TimeoutError as error:
            raise ReadUnavailable(f"Kafka has not taken a record for {SEND_SECONDS:g} s") from error
        finally:
            if producer.broken and producer is self._producer:
                self._producer = Producer(self._settings)
                await producer.close()


def fits(topic: str, key: bytes, value: bytes | None) -> bool:
    """Whether Kafka takes a row. One that it would refuse for ever must not keep all others waiting."""
    if value is None or len(key) + len(value) <= LARGEST_ROW:
        return True
    log.error("%s has no room for the row %.80r of %d bytes: it is in the database only", topic, key, len(value))
    return False


def row_json(row: Row | None) -> bytes | None:
    return None if row is None else row.__pydantic_serializer__.to_json(row)  # the shortest way to what `to_json` makes
