"""Publishes changed rows and dead letters."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaError, Message, Producer
from pydantic_core import to_json

from domains.kernel import Domain, Row
from infra.kafka import librdkafka
from infra.settings import Settings
from projections.errors import ReadUnavailable
from projections.placed import Headers
from projections.records import DeadLetter
from projections.rows import AnyView

log = logging.getLogger(__name__)

JSON: Headers = [("content-type", b"application/json")]
RELIABLE: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 1,
    "message.max.bytes": 4 * 1024 * 1024,
    "delivery.timeout.ms": 30_000,
    "compression.type": "none",
    "partitioner": "murmur2_random",
    "delivery.report.only.error": True,
}
ONLY_PARTITION, BY_KEY = 0, -1


Changed = tuple[AnyView, Mapping[str, Row | None]]


class Publisher(Protocol):
    """Where rows and dead letters go."""

    async def rows(self, *changed: Changed) -> None:
        """The rows as they are now; None: there is none. Raises `ReadUnavailable`."""

    async def dead(self, letters: Sequence[DeadLetter]) -> None:
        """Sets records aside. When it returns they are safe. Raises `ReadUnavailable`."""


class KafkaPublisher:
    """Publishes with an idempotent producer, and returns when all is acknowledged."""

    def __init__(self, settings: Settings, domain: Domain) -> None:
        self._domain = domain
        self._failures = 0
        self._failure: KafkaError | None = None
        self._producer = Producer(librdkafka(settings, **RELIABLE, on_delivery=self._delivered), logger=log)

    async def rows(self, *changed: Changed) -> None:
        each = ((self._domain.view_topic(view), key, row) for view, rows in changed for key, row in rows.items())
        await self._send((topic, key.encode(), row_json(row), JSON, BY_KEY) for topic, key, row in each)

    async def dead(self, letters: Sequence[DeadLetter]) -> None:
        topic = self._domain.dead_letter_topic
        await self._send(
            (topic, letter.record.key, letter.record.value, letter.headers, ONLY_PARTITION) for letter in letters
        )

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        """Is called for failures alone."""
        self._failures, self._failure = self._failures + 1, error

    async def _send(self, records: Iterable[tuple[str, bytes | None, bytes | None, Headers, int]]) -> None:
        """Raises `ReadUnavailable` when a record was not taken, one of these or of another caller at the same time."""
        before, produce = self._failures, self._producer.produce
        for topic, key, value, headers, partition in records:
            while True:
                try:
                    produce(topic, value, key, partition, headers=headers)
                    break
                except BufferError:
                    await asyncio.to_thread(self._producer.poll, 0.1)
        await asyncio.to_thread(self._producer.flush)
        if self._failures > before and self._failure is not None:
            raise ReadUnavailable(f"Kafka did not take a record: {self._failure.str()}")


def row_json(row: Row | None) -> bytes | None:
    return None if row is None else to_json(row)
