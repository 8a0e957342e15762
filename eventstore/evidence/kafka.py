"""A topic of one partition that keeps checkpoints."""

import asyncio
from collections.abc import Sequence
from time import time_ns
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from eventstore.cloudevents import Record
from eventstore.errors import TopicUnavailable, WitnessUnavailable
from eventstore.kafka import Sender, looking, read, to_the_end
from infra.settings import Settings

KEEP_SECONDS = 10.0
KEY = b"checkpoint"


class KafkaWitness:
    """One process at a time publishes; others may look."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings, self.name = settings, topic
        self._sender: Sender | None = None

    async def latest(self) -> str | None:
        kept = await to_the_end(self._look(1))
        return kept[-1] if kept else None

    async def notes(self) -> Sequence[str]:
        return await to_the_end(self._look(None))

    async def keep(self, note: str) -> None:
        if self._sender is None:
            self._sender = Sender(self._settings, self.name)
        record = Record(KEY, note.encode(), [("content-type", b"text/plain; charset=UTF-8")], time_ns() // 1_000_000)
        try:
            async with asyncio.timeout(KEEP_SECONDS):
                await self._sender.send([(0, record)])
        except (TopicUnavailable, TimeoutError) as error:
            await self.close()
            raise WitnessUnavailable(str(error) or f"{self.name} has acknowledged nothing") from error

    async def close(self) -> None:
        if self._sender is not None:
            sender, self._sender = self._sender, None
            await sender.close()

    async def _look(self, most: int | None) -> list[str]:
        """The last notes, oldest first."""
        place = TopicPartition(self.name, 0)
        try:
            async with looking(self._settings, [place]) as consumer:
                return await held(consumer, place, most)
        except (KafkaError, TimeoutError, OSError) as error:
            raise WitnessUnavailable(f"{self.name}: {type(error).__name__}: {error}") from error


async def held(consumer: Any, place: Any, most: int | None) -> list[str]:
    first, end = (await consumer.beginning_offsets([place]))[place], (await consumer.end_offsets([place]))[place]
    start = first if most is None else max(first, end - most)
    return [(record.value or b"").decode(errors="replace") for record in await read(consumer, place, start, end)]
