"""The topic on Kafka."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from eventstore.cloudevents import Record
from eventstore.errors import TopicUnavailable
from eventstore.topic import Genuine, Placed, events_of, highest
from infra.consumer import consumer as reader
from infra.errors import NotPublished
from infra.producer import Outgoing, Producer
from infra.settings import Settings

T = TypeVar("T")

LOOKING: dict[str, Any] = {"enable_auto_commit": False, "request_timeout_ms": 10_000, "fetch_max_wait_ms": 20}
WINDOW = 64
LARGEST_WINDOW = 4096
ANSWER_SECONDS = 15.0
SETTLE_SECONDS = 0.06
STOP_SECONDS = 2.0


class KafkaTopic:
    """A topic that one process at a time publishes to."""

    def __init__(self, settings: Settings, name: str, partitions: int) -> None:
        self._settings, self._name, self._partitions = settings, name, partitions
        self._sender: Sender | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, name: str, partitions: int) -> AsyncIterator["KafkaTopic"]:
        """A topic for the time of a `with`."""
        topic = cls(settings, name, partitions)
        try:
            yield topic
        finally:
            await topic._drop_sender()

    @property
    def partitions(self) -> int:
        return self._partitions

    async def publish(self, records: Sequence[Placed]) -> None:
        if self._sender is None:
            self._sender = Sender(self._settings, self._name)
        await self._sender.send(records)

    async def tails(self, genuine: Genuine) -> Sequence[int]:
        await self._drop_sender()
        return await to_the_end(self._look(genuine))

    async def _look(self, genuine: Genuine) -> Sequence[int]:
        try:
            async with looking(self._settings, self._places) as consumer:
                return await self._tails(consumer, genuine)
        except (KafkaError, TimeoutError, OSError) as error:
            raise TopicUnavailable(f"{self._name}: {type(error).__name__}: {error}") from error

    @property
    def _places(self) -> list[Any]:
        return [TopicPartition(self._name, number) for number in range(self._partitions)]

    async def _tails(self, consumer: Any, genuine: Genuine) -> Sequence[int]:
        actual = len(consumer.partitions_for_topic(self._name) or ())
        if actual != self._partitions:
            raise TopicUnavailable(f"{self._name} has {actual} partitions, {self._partitions} are declared")
        places = self._places
        first, end = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        return [await self._tail(consumer, place, first[place], end[place], genuine) for place in places]

    async def _tail(self, consumer: Any, place: Any, first: int, end: int, genuine: Genuine) -> int:
        """Walk back from the end until there is an event that the store knows."""
        window = WINDOW
        while end > first:
            start = max(first, end - window)
            records = await read(consumer, place, start, end)
            if position := await highest(events_of(records, place.partition, self._partitions), genuine):
                return position
            end, window = start, min(4 * window, LARGEST_WINDOW)
        return 0

    async def _drop_sender(self) -> None:
        """Wait for what is on its way, so that the tails stand still."""
        if self._sender is not None:
            await self._sender.close()
            self._sender = None


@asynccontextmanager
async def looking(settings: Settings, places: list[Any]) -> AsyncIterator[Any]:
    """A consumer outside any group. Raises `KafkaError`, `TimeoutError` and `OSError`.

    It is assigned once: a change of assignment that meets its first look for offsets can make it wait for ever.
    """
    consumer = reader(settings, **LOOKING)
    consumer.assign(places)
    try:
        await consumer.start()
        await asyncio.sleep(0)  # lets its own task begin: one that never began breaks its stop
        yield consumer
    finally:
        # uvloop may wait for ever for the end of a TLS connection on which an answer still arrives.
        consumer.pause(*consumer.assignment())
        await asyncio.sleep(SETTLE_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await consumer.stop()


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Do the work even if we are cancelled meanwhile: a consumer that is cut off leaves its connections open."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        task.exception()
        raise


async def read(consumer: Any, place: Any, start: int, end: int) -> list[Record]:
    """The records of a partition with `start <= offset < end`."""
    if start >= end:
        return []
    consumer.seek(place, start)
    found: list[Record] = []
    async with asyncio.timeout(ANSWER_SECONDS):
        while await consumer.position(place) < end:
            for batch in (await consumer.getmany(place, timeout_ms=200)).values():
                found += [Record(r.key, r.value, r.headers, r.timestamp) for r in batch if r.offset < end]
    return found


class Sender:
    """Publishes to one topic until the first failure; then it is closed, and the topic's tails say what arrived."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._topic, self._producer = topic, Producer(settings)

    async def send(self, records: Sequence[Placed]) -> None:
        """What is sent first is taken first, also while it is sent. Raises `TopicUnavailable`."""
        try:
            await self._producer.send(
                Outgoing(self._topic, partition, record.key, record.value, record.headers, record.timestamp_ms)
                for partition, record in records
            )
        except NotPublished as error:
            raise TopicUnavailable(f"{self._topic}: {error}") from error

    async def close(self) -> None:
        """Give up what was not sent, and wait for what was."""
        await self._producer.close()
