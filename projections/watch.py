"""How far the projection of a domain is behind its store, event by event."""

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from domains.codec import decode
from domains.errors import UnreadableEvent
from domains.kernel import Domain
from eventstore.records import RecordedEvent
from eventstore.store import EventStore
from infra.kafka import partition_of
from projections.rows import AnyView
from projections.serving.views import Views

PAGE = 1000
FURTHEST = 20_000


@dataclass(frozen=True, slots=True)
class Watched:
    """One view as it stands now.

    `rate` is events a second since the last look, `eta` in how many seconds it is at the end if that goes on; None: it
    does not move. `error` is why the key that was parked last is, and `last_row` the row changed last.
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


class Watcher:
    """Follows the log of one domain, and strikes out what its projection has folded.

    A projection that is more than `FURTHEST` events behind at the first look is told as that far behind.
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
        await self._follow(positions, head)
        folded = self._strike_out(positions)
        behind = [event for waiting in self._waiting.values() for event in waiting]
        oldest = min((event.recorded_at.timestamp() for event in behind), default=None)
        now, passed = time.monotonic(), self._looked
        self._looked = now
        rate = 0.0 if first or passed is None else round(folded / (now - passed), 1)
        parking = await self._views.parking()
        return [
            Watched(
                domain=self._domain.name,
                view=view.name,
                position=max(positions.values(), default=0),
                head=head,
                events_behind=len(behind),
                seconds_behind=round(max(0.0, time.time() - oldest), 1) if oldest is not None else 0.0,
                rate=rate,
                eta=0.0 if not behind else round(len(behind) / rate, 1) if rate else None,
                parked=parking.get(view.name, (0, None))[0],
                error=parking.get(view.name, (0, None))[1],
                last_row=await self._row(view),
            )
            for view in self._domain.views
        ]

    async def _follow(self, positions: Any, head: int) -> None:
        """Reads what is new; at first, what may not be folded yet, and the event folded last."""
        if self._read is None:
            begin = max(min(positions.values(), default=0), head - FURTHEST)
            self._read = max(0, min(begin, max(positions.values(), default=0) - 1))
        while page := await self._store.read_log(after=self._read, limit=PAGE):
            for event in page:
                self._waiting[partition_of(event.stream.encode(), self._domain.partitions)].append(event)
            self._read = page[-1].position
            if self._read >= head:
                break

    def _strike_out(self, positions: Any) -> int:
        folded = 0
        for partition, waiting in self._waiting.items():
            while waiting and waiting[0].position <= positions.get(partition, 0):
                event = waiting.popleft()
                folded += 1
                if self._last is None or event.position > self._last.position:
                    self._last = event
        return folded

    async def _row(self, view: AnyView) -> dict[str, Any] | None:
        if self._last is None:
            return None
        try:
            key = view.key_of(decode(self._domain, self._last))
        except UnreadableEvent:
            return None
        row = await self._views.one(view, key) if key is not None else None
        return row.model_dump(mode="json") if row is not None else None
