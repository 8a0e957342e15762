"""How far the projection of a domain is behind its store, event by event."""

import time
from array import array
from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from domains.codec import decode
from domains.kernel import Domain
from domains.plan import events_database
from eventstore.errors import EventsDetached
from eventstore.postgres import PostgresStore
from eventstore.records import RecordedEvent
from eventstore.store import EventStore
from infra.partitions import partition_of
from infra.postgres import conninfo
from infra.settings import Settings
from projections.plan import read_database
from projections.rows import AnyView
from projections.serving.views import Progress, Views
from projections.step import is_key

PAGE = 1000
PAGES = 20  # a look reads so many at most
MOST = 1_000_000
APART_SECONDS = 60.0  # what the clocks of two databases may be apart


@dataclass(frozen=True, slots=True)
class Watched:
    """One view as it stands now.

    `rate` is events a second since the last look, `eta` in how many seconds it is at the end if that goes on; None: it
    does not move. `drift` is how many rows are known to differ from what the store says, `error` why the key that was
    parked last is, and `last_row` the row changed last. `problem` is why the projection does not go on, if its process
    says so or does not answer, seen for `problem_seconds`; who can't ask it knows of none.
    """

    domain: str
    view: str
    position: int
    head: int
    events_behind: int
    seconds_behind: float
    rate: float
    eta: float | None
    parked: int
    error: str | None
    last_row: dict[str, Any] | None
    drift: int = 0
    problem: str | None = None
    problem_seconds: float | None = None


@asynccontextmanager
async def watching(settings: Settings, domain: Domain) -> AsyncIterator[tuple["Watcher", EventStore, Views]]:
    """A watcher of one domain, and what it reads, with the rights of whoever the settings are for."""
    views = Views(conninfo(settings, read_database(domain)), domain)
    async with PostgresStore.open(conninfo(settings, events_database(domain))) as store:
        await views.open()
        try:
            yield Watcher(domain, store, views), store, views
        finally:
            await views.close()


class Watcher:
    """Follows the log of one domain, and strikes out what its projection has folded.

    It begins where the partition that is furthest behind stands, or later, if the views lack nothing that is so old;
    it reads on by `PAGES` a look, while no more than `MOST` events wait. What it has not read yet it takes as spread
    evenly over the partitions.
    """

    def __init__(self, domain: Domain, store: EventStore, views: Views) -> None:
        self._domain, self._store, self._views = domain, store, views
        self._waiting = {number: array("q") for number in range(domain.partitions)}
        self._read = 0
        self._before: Mapping[int, int] | None = None
        self._looked = 0.0

    async def look(self) -> list[Watched]:
        """Each view, in the order of its declaration. Raises `StoreUnavailable` or `ReadUnavailable`."""
        progress = await self._views.progress()
        positions, head = progress.positions, await self._store.head()
        before, passed = self._before, self._looked
        if before is None:
            self._read = await self._begin(progress, head)
        folded = self._strike_out(positions) + await self._follow(positions, before or positions, head)
        folded += self._unread(before or positions, positions)
        behind = sum(map(len, self._waiting.values())) + self._unread(positions, dict.fromkeys(positions, head))
        self._before, self._looked = positions, time.monotonic()
        rate = 0.0 if before is None else round(folded / (self._looked - passed), 1)
        parking, drift = await self._views.parking(), await self._views.drift()
        seconds, last = await self._age(), await self._at(max(positions.values(), default=0))
        return [
            Watched(
                domain=self._domain.name,
                view=view.name,
                position=max(positions.values(), default=0),
                head=head,
                events_behind=behind,
                seconds_behind=seconds,
                rate=rate,
                eta=0.0 if not behind else round(behind / rate, 1) if rate else None,
                parked=parking.get(view.name, (0, None))[0],
                drift=drift.get(view.name, 0),
                error=parking.get(view.name, (0, None))[1],
                last_row=await self._row(view, last),
            )
            for view in self._domain.views
        ]

    async def _begin(self, progress: Progress, head: int) -> int:
        """Up to where nothing waits: what was recorded before the views were complete, and all that is folded."""
        begin, complete = min(progress.positions.values(), default=0), time.time() - progress.age - APART_SECONDS
        while begin < head:
            middle = (begin + head + 1) // 2
            if await self._recorded(middle) < complete:
                begin = middle
            else:
                head = middle - 1
        return begin

    async def _follow(self, positions: Mapping[int, int], before: Mapping[int, int], head: int) -> int:
        """Reads on: how much of it was folded since the last look."""
        folded = 0
        for _ in range(PAGES):
            if self._read >= head or sum(map(len, self._waiting.values())) >= MOST:
                break
            page = await self._store.read_bare(after=self._read, limit=PAGE)
            for event in page:
                partition = partition_of(event.stream.encode(), self._domain.partitions)
                if event.position > positions.get(partition, 0):
                    self._waiting[partition].append(event.position)
                elif event.position > before.get(partition, 0):
                    folded += 1
            if not page:
                break
            self._read = page[-1].position
        return folded

    def _strike_out(self, positions: Mapping[int, int]) -> int:
        folded = 0
        for partition, waiting in self._waiting.items():
            done = bisect_right(waiting, positions.get(partition, 0))
            del waiting[:done]
            folded += done
        return folded

    def _unread(self, after: Mapping[int, int], until: Mapping[int, int]) -> int:
        """About how many events lie between, of those that were not read yet."""
        beyond = (max(0, end - max(self._read, after.get(partition, 0))) for partition, end in until.items())
        return round(sum(beyond) / self._domain.partitions)

    async def _age(self) -> float:
        """For how many seconds the oldest event that waits has been recorded."""
        oldest = min((waiting[0] for waiting in self._waiting.values() if waiting), default=None)
        return 0.0 if oldest is None else round(max(0.0, time.time() - await self._recorded(oldest)), 1)

    async def _recorded(self, position: int) -> float:
        """When an event was recorded, in seconds since the epoch."""
        found = await self._at(position)
        return found.recorded_at.timestamp() if found else 0.0

    async def _at(self, position: int) -> RecordedEvent | None:
        """An event; None for one that is in a file by now, so that it is old, and for position 0."""
        try:
            found = await self._store.read_log(after=position - 1, limit=1) if position else ()
        except EventsDetached:
            return None
        return found[0] if found else None

    async def _row(self, view: AnyView, last: RecordedEvent | None) -> dict[str, Any] | None:
        """The row that an event has touched."""
        if last is None:
            return None
        try:
            key = view.key_of(decode(self._domain, last))
        except Exception:
            return None  # its stream is parked
        row = await self._views.one(view, key) if is_key(key) else None
        return row.model_dump(mode="json") if row is not None else None
