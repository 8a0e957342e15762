"""faust's consumer, without tasks, streams, events and messages for each record: whole fetches go into a queue."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiokafka.errors import TopicAuthorizationFailedError
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers.aiokafka import Consumer

from infra.consumer import install

LAST_COMMIT_SECONDS = 1.0


class Whole:
    """Hands out what was fetched of a partition as one, where faust's own schedulers take turns record by record."""

    def iterate(self, fetched: Mapping[Any, Sequence[Any]]) -> Iterator[tuple[Any, Sequence[Any]]]:
        return iter(fetched.items())


class Fetches(asyncio.Queue[Sequence[Any]]):
    """Waiting fetches, full when their records have so many bytes: small ones never wait outside, where they age."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._bytes = 0

    def full(self) -> bool:
        return self._bytes >= self.maxsize

    def _put(self, item: Sequence[Any]) -> None:
        self._bytes += size(item)
        super()._put(item)

    def _get(self) -> Sequence[Any]:
        item: Sequence[Any] = super()._get()
        self._bytes -= size(item)
        return item


def size(records: Sequence[Any]) -> int:
    return sum(len(record.value) for record in records if record.value is not None)


def to_end() -> bool:
    """Whether this task is to end, and not only what it waits for: the consumer's thread cancels what it won't do."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Straight(Consumer):  # type: ignore[misc]  # faust has no types that we follow
    """Everything but the way of a record is faust's: groups, rebalances, fetching and the commits of offsets."""

    def __init__(self, waiting: Fetches, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        install()
        self.scheduler = Whole()
        self._waiting = waiting
        self._done = dict[Any, int]()

    def dispose(self) -> None:
        """Closes what faust leaves open of a consumer that never began: the event loop of its thread."""
        if self._thread._thread is None:  # noqa: SLF001
            self._thread.thread_loop.close()

    async def wait_empty(self) -> None:
        """Commits what is done, if the thread still answers: faust waits for ever for one that has ended."""
        try:
            async with asyncio.timeout(LAST_COMMIT_SECONDS):
                await super().wait_empty()
        except TimeoutError:
            return
        except asyncio.CancelledError:
            if to_end():
                raise

    async def check(self, topic: str) -> None:
        """Raises what Kafka denies: faust does not ask, and until somebody does, aiokafka does not try again."""
        if self._thread._thread is None:  # noqa: SLF001
            raise ConsumerNotStarted
        await self._thread.call_thread(self._check, topic)

    async def _check(self, topic: str) -> None:
        consumer = self._thread._ensure_consumer()  # noqa: SLF001
        consumer._coordinator.check_errors()  # noqa: SLF001
        client = consumer._client  # noqa: SLF001
        denied = topic in client.cluster.unauthorized_topics
        # What it remembers may be minutes old; what a broker that is away would say is not known.
        if denied and await client.force_metadata_update() and topic in client.cluster.unauthorized_topics:
            raise TopicAuthorizationFailedError(topic)

    def done(self, place: Any, offset: int) -> None:
        """All before this offset is done, and may be acknowledged."""
        self._done[place] = offset

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[Any]:
        return (place for place in self._done if topics is None or place in topics or place.topic in topics)

    def _new_offset(self, place: Any) -> int | None:
        return self._done.get(place)

    def _to_message(self, _: Any, records: Any) -> Any:
        return records

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                fetched = self.getmany(timeout=1.0)
                await self.sleep(0)
                async for place, records in fetched:
                    await self._take(place, records)
        except (*self.consumer_stopped_errors, asyncio.CancelledError):
            if not self.transport.app.should_stop:
                raise

    async def _take(self, place: Any, records: Sequence[Any]) -> None:
        last = self._read_offset[place]
        if last is not None and records[0].offset < last:
            records = [record for record in records if record.offset >= last]
        if not records:
            return
        if self._waiting.full():
            # A rebalance must not wait for the worker.
            await self.wait_first(self._waiting.put(records), self.suspend_flow.wait())
        else:
            self._waiting.put_nowait(records)
        self._read_offset[place] = records[-1].offset
