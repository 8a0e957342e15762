"""The topic on Kafka."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from threading import Thread
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException, Producer

from eventstore.cloudevents import Record
from eventstore.errors import TopicUnavailable
from eventstore.topic import Genuine, Placed, events_of, highest
from infra.kafka import aiokafka, librdkafka
from infra.settings import Settings

T = TypeVar("T")
Report = Callable[[Any, Any], None]

log = logging.getLogger(__name__)

# Records are retried for as long as it takes: to give one up while its successors arrive would leave a hole.
ORDERED: dict[str, Any] = {
    "enable.idempotence": True,
    "enable.gapless.guarantee": True,
    "acks": "all",
    "log_level": 3,
    "message.timeout.ms": 0,
    "linger.ms": 3,  # a page in several requests costs the broker up to twice as much
    "compression.type": "none",  # aiokafka, and so faust, reads compressed records only with further libraries
    "message.max.bytes": 4 * 1024 * 1024,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 500,
    "retry.backoff.ms": 50,
    "retry.backoff.max.ms": 500,
}
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
    consumer = AIOKafkaConsumer(**aiokafka(settings, **LOOKING))
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
    """An idempotent producer, and the thread that hears its delivery reports: one for each partition and `send`.

    It is used until the first failure; then it is closed, and the topic's tails say what arrived.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        self._topic, self._loop = topic, asyncio.get_running_loop()
        self._producer = Producer(librdkafka(settings, **ORDERED, error_cb=self._erred), logger=log)
        self._failure: str | None = None
        self._turn = asyncio.Lock()
        self._progress = asyncio.Event()
        self._closed = False
        self._thread = Thread(target=self._poll, name=f"{topic} delivery reports", daemon=True)
        self._thread.start()

    async def send(self, records: Sequence[Placed]) -> None:
        """What is sent first is taken first, also while it is sent. Raises `TopicUnavailable`."""
        # A report costs as much as its record, and the last of a partition is not taken before all others are.
        last = {partition: number for number, (partition, _) in enumerate(records)}
        left = set(last)

        def delivered(error: Any, message: Any) -> None:
            left.discard(message.partition())
            if error is not None and self._failure is None:
                self._failure = error.str()

        async with self._turn:
            for number, (partition, record) in enumerate(records):
                while not self._enqueued(partition, record, delivered if last[partition] == number else None):
                    await self._progressed()
        while left and self._failure is None:
            await self._progressed()
        if self._failure is not None:
            raise TopicUnavailable(f"{self._topic}: {self._failure}")

    def _enqueued(self, partition: int, record: Record, delivered: Report | None) -> bool:
        if self._failure is not None:
            raise TopicUnavailable(f"{self._topic}: {self._failure}")
        try:
            self._producer.produce(
                self._topic,
                value=record.value,
                key=record.key,
                partition=partition,
                timestamp=record.timestamp_ms,
                headers=record.headers,
                on_delivery=delivered,
            )
        except BufferError:
            return False
        except KafkaException as error:
            self._failure = str(error.args[0])
            raise TopicUnavailable(f"{self._topic}: {self._failure}") from error
        return True

    async def _progressed(self) -> None:
        """Returns when something was delivered or failed, or after a while."""
        self._progress.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await self._progress.wait()

    def _poll(self) -> None:
        while not self._closed:
            if self._producer.poll(0.1):
                self._loop.call_soon_threadsafe(self._progress.set)

    def _erred(self, error: Any) -> None:
        if error.fatal():
            self._failure = error.str()

    async def close(self, seconds: float = 30.0) -> None:
        """Give up what was not sent, and wait for what was."""
        deadline = self._loop.time() + seconds
        while len(self._producer):
            self._producer.purge(in_queue=True, in_flight=self._loop.time() > deadline, blocking=False)
            await self._progressed()
        self._closed = True
        await asyncio.to_thread(self._thread.join)
