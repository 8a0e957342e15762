"""The changes of a view, read from its compacted topic: the newest ones once for all streams of a process."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from domains.kernel import Domain
from infra.kafka import librdkafka
from infra.settings import Settings
from projections.errors import Overtaken, ReadUnavailable
from projections.rows import AnyView

log = logging.getLogger(__name__)

LOOKBACK = 1000
PAGE = 500
PAGE_BYTES = 1024 * 1024
POLL_SECONDS = 0.2
ANSWER_SECONDS = 5.0
KEPT = 10_000
KEPT_BYTES = 16 * 1024 * 1024
CONSUMER: dict[str, Any] = {
    # No group is joined: what is assigned is ours, and nothing is committed.
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 100,
    "queued.max.messages.kbytes": 4096,
}
Offsets = list[int]


@dataclass(frozen=True, slots=True)
class Change:
    """A row as it has become, as JSON; None: it is gone."""

    partition: int
    offset: int
    key: str
    value: bytes | None


class Log:
    """Reads one topic from offsets on, in a thread of its own. `next` is where each partition goes on."""

    def __init__(self, settings: Settings, topic: str, partitions: int) -> None:
        self.next: Offsets = []
        self._places = [TopicPartition(topic, number) for number in range(partitions)]
        self._consumer = Consumer(librdkafka(settings, log_level=0, **CONSUMER, **{"group.id": topic}))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"log of {topic}")

    async def ends(self) -> tuple[Offsets, Offsets]:
        """Where each partition begins and ends. Raises `ReadUnavailable`."""

        def ask() -> list[Any]:
            return [self._consumer.get_watermark_offsets(place, timeout=ANSWER_SECONDS) for place in self._places]

        try:
            found = await self._run(ask)
        except KafkaException as error:
            raise ReadUnavailable(error.args[0].str()) from error
        if None in found:
            raise ReadUnavailable("Kafka does not say where a topic ends")
        return [low for low, _ in found], [high for _, high in found]

    async def begin(self, offsets: Sequence[int]) -> None:
        self.next = list(offsets)
        places = [TopicPartition(place.topic, place.partition, self.next[place.partition]) for place in self._places]
        await self._run(lambda: self._consumer.assign(places))

    async def page(self) -> list[Change]:
        """What comes next, at most a page; nothing if nothing comes for a moment. Raises `ReadUnavailable`."""
        messages: list[Message] = await self._run(lambda: self._consumer.consume(PAGE, POLL_SECONDS))
        changes = []
        for message in messages:
            error, partition, offset = message.error(), message.partition(), message.offset()
            if error is None:
                key, value = message.key(), message.value()
                changes.append(Change(partition, offset, key.decode(), value))
                self.next[partition] = offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # its only name
                self.next[partition] = max(self.next[partition], offset)
            elif error.fatal() or not error.retriable():
                raise ReadUnavailable(error.str())
        return changes

    async def close(self) -> None:
        await self._run(self._consumer.close)
        self._thread.shutdown()

    async def _run(self, call: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


class Tail:
    """The newest changes of a view in the order of their arrival, numbered; old ones make room.

    All changes from `low` up to `high` are here, by partition; `first` is the number of the oldest.
    """

    def __init__(self, log: Log) -> None:
        self.low: Offsets = []
        self.high: Offsets = []
        self.first = 0
        self.ended = False
        self._log, self._changes, self._bytes = log, list[Change](), 0
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reads what came last, and goes on. Raises `ReadUnavailable`."""
        begins, ends = await self._log.ends()
        self.low = [max(begin, end - KEPT // len(ends)) for begin, end in zip(begins, ends, strict=True)]
        await self._log.begin(self.low)
        deadline = monotonic() + ANSWER_SECONDS
        while any(reached < end for reached, end in zip(self._log.next, ends, strict=True)):
            self.take(await self._log.page())
            if monotonic() > deadline:
                raise ReadUnavailable("the changes of a view can't be read")
        self.high = list(self._log.next)
        self._task = asyncio.create_task(self._run(), name="changes of a view")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.ended = True
        await self._log.close()

    @property
    def end(self) -> int:
        """The number that the next change will have."""
        return self.first + len(self._changes)

    def covers(self, cursor: Sequence[int]) -> bool:
        """Whether all changes from there on are here."""
        return all(offset >= low for offset, low in zip(cursor, self.low, strict=True))

    async def after(self, number: int, seconds: float) -> tuple[Sequence[Change], int]:
        """Changes from a number on, at most a page, as soon as there is one or `seconds` have passed; and what follows.

        Raises `Overtaken` if they have made room, and `ReadUnavailable` when no more will come.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while number >= self.end and not self.ended:
                    await self._moved.wait()
        if self.ended:
            raise ReadUnavailable("the changes of a view have ended")
        if number < self.first:
            raise Overtaken
        size, page = 0, list[Change]()
        for change in self._changes[number - self.first : number - self.first + PAGE]:
            page.append(change)
            size += weight(change)
            if size > PAGE_BYTES:
                break
        return page, number + len(page)

    def take(self, changes: Sequence[Change]) -> None:
        """Keeps changes, and wakes whoever waits for them."""
        self._changes += changes
        self._bytes += sum(map(weight, changes))
        self.high = list(self._log.next)
        if len(self._changes) > KEPT or self._bytes > KEPT_BYTES:
            self._make_room()
        if changes:
            self._moved.set()
            self._moved = asyncio.Event()

    def _make_room(self) -> None:
        """A good part at a time, so that a change costs little."""
        count, size = 0, self._bytes
        while len(self._changes) - count > KEPT * 3 // 4 or size > KEPT_BYTES * 3 // 4:
            size -= weight(self._changes[count])
            count += 1
        for change in self._changes[:count]:
            self.low[change.partition] = change.offset + 1
        del self._changes[:count]
        self.first, self._bytes = self.first + count, size

    async def _run(self) -> None:
        try:
            while True:
                self.take(await self._log.page())
        except ReadUnavailable as error:
            log.warning("the changes of a view can't be read on: %s", error)
        finally:
            self.ended = True
            self._moved.set()


class Tails:
    """The tails of one domain's views in one process, each read from the first who asks on."""

    def __init__(self, settings: Settings, domain: Domain) -> None:
        self._settings, self._domain = settings, domain
        self._tails: dict[str, Tail] = {}
        self._starting = asyncio.Lock()

    def log(self, view: AnyView) -> Log:
        return Log(self._settings, self._domain.view_topic(view), self._domain.partitions)

    async def of(self, view: AnyView) -> Tail:
        """Raises `ReadUnavailable`."""
        async with self._starting:
            tail = self._tails.get(view.name)
            if tail is not None and tail.ended:
                await self._tails.pop(view.name).close()
                tail = None
            if tail is None:
                tail = Tail(self.log(view))
                try:
                    await tail.start()
                except BaseException:
                    await tail.close()
                    raise
                self._tails[view.name] = tail
            return tail

    async def close(self) -> None:
        for tail in self._tails.values():
            await tail.close()


def weight(change: Change) -> int:
    return len(change.key) + len(change.value or b"")
