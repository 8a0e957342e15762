"""Publishes to Kafka: what goes out together is one request, whatever its topics and partitions."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from infra.errors import NotPublished
from infra.kafka import aiokafka
from infra.settings import Settings

# Retried for as long as it takes: to give a record up while its successors arrive would leave a hole. Not compressed:
# aiokafka, and so faust, reads compressed records only with further libraries. A batch may be as large as the broker
# takes one unless it is told otherwise.
ORDERED: dict[str, Any] = {
    "enable_idempotence": True,
    "acks": "all",
    "max_batch_size": 1_000_000,
    "request_timeout_ms": 10_000,
    "retry_backoff_ms": 200,  # each time aiokafka says so in four lines of log
}
CLOSE_SECONDS = 2.0


class Outgoing(NamedTuple):
    """A record and where it goes; without a timestamp it is of now."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp_ms: int | None = None


class Producer:
    """An idempotent producer. After a send that failed or was cut off it takes nothing more: what follows must wait."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turn = asyncio.Lock()
        self._producer: Any = None
        self._failure: NotPublished | None = None

    async def send(self, records: Iterable[Outgoing]) -> None:
        """Returns when all are acknowledged. What is sent first is taken first. Raises `NotPublished`."""
        async with self._turn:
            if self._failure is not None:
                raise self._failure
            try:
                producer = await self._started()
                for batches in in_turns(producer, records):
                    await acknowledged([await producer.send_batch(*batch, partition=to) for *batch, to in batches])
            except asyncio.CancelledError:
                self._failure = NotPublished("what was sent before was cut off")
                raise
            except (KafkaError, TimeoutError, OSError) as error:
                self._failure = NotPublished(f"{type(error).__name__}: {error}")
                raise self._failure from error

    @property
    def broken(self) -> bool:
        """Whether it takes nothing more."""
        return self._failure is not None

    async def _started(self) -> Any:
        if self._producer is None:
            self._producer = AIOKafkaProducer(**aiokafka(self._settings, **ORDERED))
            await self._producer.start()
        return self._producer

    async def close(self) -> None:
        """Give up what was not sent, and wait for what was."""
        self._failure = self._failure or NotPublished("the producer is closed")
        if self._producer is None:
            return
        producer, self._producer = self._producer, None
        await given_up(producer)


async def given_up(producer: Any) -> None:
    """Closes a producer of aiokafka without waiting for what it has not sent, or for ever."""
    sender = producer._sender.sender_task  # noqa: SLF001  # its own `stop` would send what waits, for ever if need be
    if sender is not None:
        sender.cancel()
        await asyncio.wait({sender})
    # uvloop may wait for ever for the end of a TLS connection on which an answer still arrives.
    with suppress(TimeoutError, KafkaError, OSError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await producer.stop()


def in_turns(producer: Any, records: Iterable[Outgoing]) -> list[list[tuple[Any, str, int]]]:
    """The records as batches, in their order. A partition has one in each turn, as many turns as it needs."""
    turns: list[dict[tuple[str, int], Any]] = []
    last: dict[tuple[str, int], tuple[int, Any]] = {}
    for topic, partition, key, value, headers, timestamp in records:
        turn, batch = last.get((topic, partition), (-1, None))
        if batch is None or batch.append(timestamp=timestamp, key=key, value=value, headers=headers) is None:
            turn, batch = turn + 1, producer.create_batch()
            batch.append(timestamp=timestamp, key=key, value=value, headers=headers)
            if turn == len(turns):
                turns.append({})
            turns[turn][topic, partition] = batch
            last[topic, partition] = turn, batch
    return [[(batch, *place) for place, batch in turn.items()] for turn in turns]


async def acknowledged(futures: list[asyncio.Future[Any]]) -> None:
    """Raises what befell the first that failed."""
    for future in futures:
        future.add_done_callback(seen)
    await asyncio.wait(futures, return_when=asyncio.FIRST_EXCEPTION)
    for future in futures:
        if future.done():
            future.result()


def seen(future: asyncio.Future[Any]) -> None:
    """Another's failure was told already."""
    if not future.cancelled():
        future.exception()
