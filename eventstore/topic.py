"""Where the relay publishes: the port, and its twin in memory."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from eventstore.cloudevents import Record, decode
from eventstore.errors import RecordError
from eventstore.records import RecordedEvent
from infra.partitions import partition_of

Genuine = Callable[[RecordedEvent], Awaitable[bool]]
Placed = tuple[int, Record]


class Topic(Protocol):
    """A topic of events, with a fixed number of partitions."""

    @property
    def partitions(self) -> int: ...

    async def tails(self, genuine: Genuine) -> Sequence[int]:
        """The highest position that stands at the end of each partition, 0 where there is none.

        Records that are no events of this store are walked over. Nothing that was published here before arrives
        after this was asked; what a killed process had sent may. Raises `TopicUnavailable`.
        """

    async def publish(self, records: Sequence[Placed]) -> None:
        """Append each record to its partition, in order. When it returns, all are acknowledged.

        Raises `TopicUnavailable` when one was not; then the tails say what arrived.
        """


class MemoryTopic:
    """A topic for tests and examples."""

    def __init__(self, partitions: int) -> None:
        self.records: list[list[Record]] = [[] for _ in range(partitions)]

    @property
    def partitions(self) -> int:
        return len(self.records)

    async def tails(self, genuine: Genuine) -> Sequence[int]:
        events = [events_of(records, partition, self.partitions) for partition, records in enumerate(self.records)]
        return [await highest(held, genuine) for held in events]

    async def publish(self, records: Sequence[Placed]) -> None:
        for partition, record in records:
            self.records[partition].append(record)


def events_of(records: Iterable[Record], partition: int, partitions: int) -> list[RecordedEvent]:
    """Those records that are events of this partition."""
    events = []
    for record in records:
        try:
            event = decode(record.key, record.value, record.headers)
        except RecordError:
            continue
        if partition_of(record.key, partitions) == partition:
            events.append(event)
    return events


async def highest(events: Iterable[RecordedEvent], genuine: Genuine) -> int:
    """The highest position of an event that the store knows; 0 if there is none."""
    for event in sorted(events, key=lambda event: event.position, reverse=True):
        if await genuine(event):
            return event.position
    return 0
