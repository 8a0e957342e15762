"""Whether a lane makes progress: assigned, and either at the end of its partitions or on its way there."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NoReturn, Protocol

from domains.kernel import Domain
from eventstore.errors import EventStoreError
from eventstore.store import EventStore
from projections.errors import ProjectionError
from projections.metrics import BEHIND_EVENTS, BEHIND_SECONDS, PARKED_KEYS

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
STILL_SECONDS = 8.0


class Partitions(Protocol):
    """Where a lane has its records from."""

    def assigned(self) -> Collection[int]:
        """The partitions of the events topic that this worker has now."""

    async def ends(self) -> Mapping[int, int]:
        """The offset behind the last record of each partition, as the broker says. Raises `ReadUnavailable`."""

    async def begins(self, partition: int) -> int | None:
        """The offset at which the lane goes on in a partition, if that is known yet."""


class Freshness(Protocol):
    """Where it is noted how fresh the views are."""

    async def fresh(self, partitions: Collection[int]) -> int:
        """Notes that these have nothing waiting now; returns how many keys are parked. Raises `ReadUnavailable`."""


class Noted(Protocol):
    """Notes what is fresh, unless the store has events beyond `head` folded by nobody."""

    async def fresh(self, partitions: Collection[int], head: int) -> int: ...


class UpToTheStore:
    """Notes nothing as fresh that lacks what the relay has not brought yet: the topic alone can't know of that."""

    def __init__(self, noted: Noted, store: EventStore) -> None:
        self._noted, self._store = noted, store

    async def fresh(self, partitions: Collection[int]) -> int:
        try:
            return await self._noted.fresh(partitions, await self._store.head())
        except EventStoreError as error:
            log.debug("it can't be known how fresh the views are: %s", error)
            return await self._noted.fresh((), 0)


@dataclass(slots=True)
class Moved:
    """How far a partition is, since when it has not moved on while records wait, and since when it was at the end."""

    offset: int
    since: float
    at_end: float


class Progress:
    """Looks at a lane now and then: the broker and the database must answer, and what waits must become less."""

    def __init__(
        self, domain: Domain, source: Partitions, freshness: Freshness, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._domain, self._source, self._freshness, self._clock = domain, source, freshness, clock
        self._done: dict[int, int] = {}
        self._moved: dict[int, Moved] = {}
        self._looked = clock()
        self._failure: str | None = "it has only begun"

    def problem(self) -> str | None:
        """Why there is no progress, or None. That much is left to do is no reason."""
        if not self._source.assigned():
            return "no partition of the events topic is assigned"
        if (silent := self._clock() - self._looked) > STILL_SECONDS:
            why = f": {self._failure}" if self._failure else ""
            return f"Kafka or the read database has not answered for {silent:.0f} s{why}"
        for partition in self._source.assigned():
            moved = self._moved.get(partition)
            if moved is not None and (still := self._clock() - moved.since) > STILL_SECONDS:
                return (
                    f"partition {partition} stands still at offset {moved.offset} for {still:.0f} s, and records wait"
                )
        return None

    def worked(self, partition: int, offset: int) -> None:
        """All before this offset is done."""
        self._done[partition] = offset

    async def watch(self) -> NoReturn:
        """Looks until it is cancelled."""
        while True:
            try:
                await self.look()
            except (ProjectionError, EventStoreError) as error:
                self._failure = str(error)
                log.debug("no look at the progress: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Raises `ReadUnavailable`."""
        began = self._clock()
        assigned = set(self._source.assigned())
        ends = await self._source.ends()
        for gone in (self._done.keys() | self._moved.keys()) - assigned:
            self._done.pop(gone, None)
            self._moved.pop(gone, None)
        fresh = [partition for partition in assigned if await self._at_end(partition, ends[partition], began)]
        parked = await self._freshness.fresh(fresh)
        self._looked, self._failure = self._clock(), None
        PARKED_KEYS.labels(self._domain.name).set(parked)

    async def _at_end(self, partition: int, end: int, began: float) -> bool:
        done = self._done.get(partition)
        if done is None and (done := await self._source.begins(partition)) is None:
            return False
        moved = self._moved.get(partition)
        if moved is None or moved.offset != done or done >= end:
            moved = self._moved[partition] = Moved(done, began, began if moved is None or done >= end else moved.at_end)
        labels = (self._domain.name, str(partition))
        BEHIND_EVENTS.labels(*labels).set(max(0, end - done))
        BEHIND_SECONDS.labels(*labels).set(0 if done >= end else began - moved.at_end)
        return done >= end
