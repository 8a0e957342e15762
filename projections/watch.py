"""How far the projection of a domain is behind its store, event by event."""

import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from domains.codec import decode
from domains.kernel import Domain
from domains.plan import events_database
from eventstore.postgres import PostgresStore
from eventstore.records import RecordedEvent
from eventstore.store import EventStore
from infra.partitions import partition_of
from infra.postgres import conninfo
from infra.settings import Settings
from projections.folding import is_key
from projections.plan import read_database
from projections.rows import AnyView
from projections.serving.views import Views

PAGE = 1000
FURTHEST = 20_000


@dataclass(frozen=True, slots=True)
class Watched:
    """One view as it stands now.

    `rate` is events a second since the last look, `eta` in how many seconds it is at the end if that goes on; None: it
    does not move. `drift` is how many rows are known to differ from what the store says, `error` why the key that was
    parked last is, and `last_row` the row changed last.
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

    Beyond `FURTHEST` events it reads no further, and takes what lies there as waiting.
    """

    def __init__(self, domain: Domain, store: EventStore, views: Views) -> None:
        self._domain, self._store, self._views = domain, store, views
        self._waiting: dict[int, deque[RecordedEvent]] = {number: deque() for number in range(domain.partitions)}
        self._read: int | None = None
        self._looked: float | None = None
        self._last: RecordedEvent | None = None

    async def look(self) -> list[Watched]:
        """Each view, in the order of its declaration. Raises `StoreUnavailable` or `ReadUnavailable`."""
        positions = (await self._views.progress()).positions
        head = await self._store.head()
        first = self._read is None
        folded = self._strike_out(positions) + await self._follow(positions, head)
        behind = [event for waiting in self._waiting.values() for event in waiting]
        beyond = max(0, head - (self._read or 0))
        oldest = min((event.recorded_at.timestamp() for event in behind), default=None)
        now, passed = time.monotonic(), self._looked
        self._looked = now
        rate = 0.0 if first or passed is None else round(folded / (now - passed), 1)
        parking, drift = await self._views.parking(), await self._views.drift()
        return [
            Watched(
                domain=self._domain.name,
                view=view.name,
                position=max(positions.values(), default=0),
                head=head,
                events_behind=len(behind) + beyond,
                seconds_behind=round(max(0.0, time.time() - oldest), 1) if oldest is not None else 0.0,
                rate=rate,
                eta=0.0 if not behind else round((len(behind) + beyond) / rate, 1) if rate else None,
                parked=parking.get(view.name, (0, None))[0],
                drift=drift.get(view.name, 0),
                error=parking.get(view.name, (0, None))[1],
                last_row=await self._row(view),
            )
            for view in self._domain.views
        ]

    async def _follow(self, positions: Mapping[int, int], head: int) -> int:
        """Reads what is new, at first from what may not be folded yet: how much of it is folded already."""
        if self._read is None:
            begin = max(min(positions.values(), default=0), head - FURTHEST)
            self._read = max(0, min(begin, max(positions.values(), default=0) - 1))
        folded = 0
        while self._read < head and sum(map(len, self._waiting.values())) < FURTHEST:
            page = await self._store.read_log(after=self._read, limit=PAGE)
            for event in page:
                partition = partition_of(event.stream.encode(), self._domain.partitions)
                if event.position > positions.get(partition, 0):
                    self._waiting[partition].append(event)
                else:
                    folded += self._fold(event)
            if not page:
                break
            self._read = page[-1].position
        return folded

    def _strike_out(self, positions: Mapping[int, int]) -> int:
        folded = 0
        for partition, waiting in self._waiting.items():
            while waiting and waiting[0].position <= positions.get(partition, 0):
                folded += self._fold(waiting.popleft())
        return folded

    def _fold(self, event: RecordedEvent) -> int:
        if self._last is None or event.position > self._last.position:
            self._last = event
        return 1

    async def _row(self, view: AnyView) -> dict[str, Any] | None:
        if self._last is None:
            return None
        try:
            key = view.key_of(decode(self._domain, self._last))
        except Exception:
            return None  # its stream is parked
        row = await self._views.one(view, key) if is_key(key) else None
        return row.model_dump(mode="json") if row is not None else None
