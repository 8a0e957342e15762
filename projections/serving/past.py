"""Views as they were: rows folded anew from the store, up to the last event that had been recorded by then."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domains.kernel import Domain, Row
from eventstore.errors import EventsDetached, StoreUnavailable
from eventstore.store import EventStore
from projections.errors import BeyondReach, FoldsWait, ReadUnavailable
from projections.paging import Place
from projections.parking import EventPlace
from projections.refolding.effects import guarded
from projections.refolding.facts import facts_of, of_one_stream
from projections.refolding.refold import Refold, failed
from projections.rows import AnyView, ordered

PAGE = 1000
MOST_EVENTS = 50_000
MOST_WAITING = 8
KEPT_BYTES = 32 * 1024 * 1024


Skipped = Callable[[AnyView], Awaitable[frozenset[EventPlace]]]


async def nothing(_: AnyView) -> frozenset[EventPlace]:
    return frozenset()


@dataclass(frozen=True, slots=True)
class Folded:
    """All rows of a view, in the order of their keys, and how much they weigh as JSON."""

    rows: Mapping[str, Row]
    weight: int


class Past:
    """Answers about other times than now. A fold reads at most `most` events; the newest folds are kept.

    `skipped` names the events that a person took out of a view: they are not folded, as they are not in the live rows.

    All methods raise `BeyondReach`, `FoldsWait` or `ReadUnavailable`; `RebuildFailed` or `UnreadableEvent` for an event
    that today's code can't fold; `RebuildRefused` for a view whose code reaches for the world outside.
    """

    def __init__(self, domain: Domain, store: EventStore, skipped: Skipped = nothing, most: int = MOST_EVENTS) -> None:
        self._domain, self._store, self._skipped, self._most = domain, store, skipped, most
        self._kept: OrderedDict[tuple[str, int, frozenset[EventPlace]], Folded] = OrderedDict()
        self._turn, self._waiting = asyncio.Lock(), 0

    async def one(self, view: AnyView, key: str, moment: datetime) -> tuple[Row | None, int]:
        """The row as it was, and the position up to which that is so."""
        if not of_one_stream(self._domain, view):
            rows, position = await self._whole(view, moment)
            return rows.get(key), position
        view = guarded(view, self._domain)
        row, position, count = None, 0, 0
        skipped = await self._skipped(view)
        try:
            async for event, fact in facts_of(self._domain, view, self._store, key, moment, skipped):
                if (count := count + 1) > self._most:
                    raise BeyondReach(f"a row is folded from at most {self._most} events, and this one has more")
                try:
                    row, position = view.project(row, fact), event.position
                except Exception as error:
                    raise failed(view, event, error) from error
        except StoreUnavailable as error:
            raise ReadUnavailable(str(error)) from error
        except EventsDetached as error:
            raise BeyondReach(str(error)) from None
        return row, position

    async def page(
        self, view: AnyView, filters: Mapping[str, Any], place: Place, limit: int, moment: datetime
    ) -> tuple[Sequence[Row], int]:
        """Rows that had these values, behind a place and in its order."""
        rows, position = await self._whole(view, moment)
        ranks = {
            place.rank(row, view.key): row
            for row in rows.values()
            if all(getattr(row, name) == value for name, value in filters.items())
        }
        behind = sorted(filter(place.before, ranks), reverse=place.descending)
        return [ranks[rank] for rank in behind[:limit]], position

    async def _whole(self, view: AnyView, moment: datetime) -> tuple[Mapping[str, Row], int]:
        if self._waiting >= MOST_WAITING:
            raise FoldsWait
        self._waiting += 1
        try:
            async with self._turn:
                position = await position_at(self._store, moment)
                return (await self._folded(view, position)).rows, position
        except StoreUnavailable as error:
            raise ReadUnavailable(str(error)) from error
        except EventsDetached as error:
            raise BeyondReach(str(error)) from None
        finally:
            self._waiting -= 1

    async def _folded(self, view: AnyView, position: int) -> Folded:
        # A fold of before a person took an event out is not the past that is answered from then on.
        skipped = await self._skipped(view)
        name = (view.name, position, skipped)
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        if position > self._most:
            told = f"a view is folded from at most {self._most} events, and until then there were {position}"
            raise BeyondReach(told)
        bounds = dict.fromkeys(range(self._domain.partitions), position)
        refold = Refold(self._domain, view, self._store, bounds, skipped)
        rows = await refold.rows(lambda _: True)
        weight = sum(len(row.model_dump_json()) for row in rows.values())
        folded = self._kept[name] = Folded({key: rows[key] for key in ordered(rows)}, weight)
        while sum(one.weight for one in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return folded


async def position_at(store: EventStore, moment: datetime) -> int:
    """The position of the last event that was recorded by then. Times of recording rise with the positions."""
    low, high = 0, await store.head()
    while low < high:
        middle = (low + high + 1) // 2
        [event] = await store.read_log(after=middle - 1, limit=1)
        low, high = (middle, high) if event.recorded_at <= moment else (low, middle - 1)
    return low
