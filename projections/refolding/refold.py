"""Views folded anew from the store: its log as a source, and the one fold that verify, rebuild and replay share."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

from domains.codec import decode
from domains.errors import UnreadableEvent
from domains.kernel import Domain, Row
from eventstore.records import BareEvent, RecordedEvent
from eventstore.store import EventStore
from infra.partitions import partition_of
from projections.errors import EffectRefused, FoldFailed, RebuildFailed
from projections.parking import EventPlace
from projections.placed import Placed
from projections.refolding import effects
from projections.rows import AnyView
from projections.sources import Batch
from projections.step import key_of, row_after

PAGE = 2000
STREAMS_KEPT = 1 << 17
UNKNOWN_OFFSET = -1
Bounds = Mapping[int, int]
Chosen = Callable[[str], bool]
Progress = Callable[[int, int], None]
AnyEvent = TypeVar("AnyEvent", BareEvent, RecordedEvent)
Read = Callable[..., Awaitable[Sequence[AnyEvent]]]


def everything(_: str) -> bool:
    return True


def nobody(_done: int, _total: int) -> None:
    """For callers that wish to hear nothing."""


class Log:
    """Events of the store, each once and in the order of the log, up to a bound for each partition.

    What lies beyond the bound of its partition is met again in the next pass, with a higher bound.
    """

    def __init__(self, domain: Domain, store: EventStore, after: int = 0) -> None:
        self._store, self._partitions = store, domain.partitions
        self._lane = lru_cache(STREAMS_KEPT)(lambda stream: partition_of(stream.encode(), domain.partitions))
        self.after = after

    def partition(self, event: BareEvent | RecordedEvent) -> int:
        lane: int = self._lane(event.stream)
        return lane

    def pages(self, bounds: Bounds) -> AsyncIterator[list[BareEvent]]:
        """Pages of events, at once what follows; a page may be empty. While one is worked on, the next is fetched."""
        return self._pages(bounds, self._store.read_bare)

    async def _pages(self, bounds: Bounds, read: Read[AnyEvent]) -> AsyncIterator[list[AnyEvent]]:
        after, end = self.after, max(bounds.values(), default=0)
        sure = min((bounds.get(number, 0) for number in range(self._partitions)), default=0)
        skipped: int | None = None
        coming = asyncio.ensure_future(read(after=after, limit=PAGE)) if after < end else None
        try:
            while coming is not None and (page := await coming):
                after = page[-1].position
                coming = asyncio.ensure_future(read(after=after, limit=PAGE)) if after < end else None
                if after > sure:
                    await asyncio.sleep(0)
                    within = [event for event in page if event.position <= bounds.get(self.partition(event), 0)]
                    if skipped is None and len(within) < len(page):
                        taken = {event.position for event in within}
                        skipped = next(event.position for event in page if event.position not in taken)
                    yield within
                else:
                    await asyncio.sleep(0)
                    yield list(page)
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
        self.after = after if skipped is None else skipped - 1

    def whole(self, bounds: Bounds) -> AsyncIterator[list[RecordedEvent]]:
        """The same with all that is recorded of each event."""
        return self._pages(bounds, self._store.read_log)


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What the store has up to a bound for each partition, without what was `skipped`, as batches for a projector."""

    log: Log
    domain: Domain
    bounds: Bounds
    skipped: Collection[EventPlace] = frozenset()

    async def batches(self) -> AsyncIterator[Batch]:
        """Batches of a page; one may be empty."""
        async for page in self.log.whole(self.bounds):
            yield Batch([self._place(event) for event in without(page, self.skipped)])

    def _place(self, event: RecordedEvent) -> Placed:
        partition = self.log.partition(event)
        try:
            return Placed.of(partition, UNKNOWN_OFFSET, event, decode(self.domain, event))
        except UnreadableEvent as error:
            return Placed.of(partition, UNKNOWN_OFFSET, event, error.with_traceback(None))


class Refold:
    """Folds a view from the store, without the events that were `skipped`.

    After a pass, `events` is how many were within the bounds, and what lies beyond them comes after position `after`.
    """

    def __init__(
        self,
        domain: Domain,
        view: AnyView,
        store: EventStore,
        bounds: Bounds,
        skipped: Collection[EventPlace] = frozenset(),
    ) -> None:
        self._domain, self._view, self._bounds, self._skipped = domain, view, bounds, skipped
        self._log = partial(Log, domain, store)
        self.events, self.after = 0, 0

    async def rows(self, chosen: Chosen, progress: Progress = nobody) -> dict[str, Row]:
        """The rows with these keys, folded from the first event on. Raises `RebuildFailed` and `UnreadableEvent`."""
        rows: dict[str, Row] = {}
        async for page in self.pages(progress):
            self.fold(page, rows, chosen)
        return rows

    def fold(self, page: Sequence[BareEvent], rows: dict[str, Row], chosen: Chosen = everything) -> list[str]:
        """Folds a page into rows: the keys that it touched."""
        return fold(self._domain, self._view, page, rows, chosen)

    async def pages(self, progress: Progress = nobody) -> AsyncGenerator[Sequence[BareEvent]]:
        end, self.events = max(self._bounds.values(), default=0), 0
        log = self._log()
        async for page in log.pages(self._bounds):
            self.events += len(page)
            yield without(page, self._skipped)
            if page:
                progress(min(page[-1].position, end), end)
        self.after = log.after


def without(page: list[AnyEvent], skipped: Collection[EventPlace]) -> list[AnyEvent]:
    """The events that nobody took out of the view for good."""
    return [event for event in page if (event.position, event.stream) not in skipped] if skipped else page


def facts(
    domain: Domain, view: AnyView, page: Sequence[BareEvent], chosen: Chosen
) -> Iterator[tuple[BareEvent, str, Any]]:
    """The events with these keys. Raises `RebuildFailed`."""
    for event in page:
        fact = decode(domain, event)
        try:
            key = key_of(view, fact)
        except FoldFailed as error:
            raise failed(view, event, error) from error
        if key is not None and chosen(key):
            yield event, key, fact


def fold(
    domain: Domain,
    view: AnyView,
    page: Sequence[BareEvent | RecordedEvent],
    rows: dict[str, Row],
    chosen: Chosen = everything,
) -> list[str]:
    """Folds a page into rows: the keys that it touched. Raises `RebuildFailed` and `RebuildRefused`."""
    effects.harmless(view, domain)
    touched: list[str] = []
    with effects.refused() as guard:
        for event in page:
            fact = decode(domain, event)
            try:
                if (key := key_of(view, fact)) is None or (chosen is not everything and not chosen(key)):
                    continue
                row = row_after(view, key, rows.get(key), fact)
            except FoldFailed as error:
                raise failed(view, event, error) from error
            if guard.reached is not None:
                raise failed(view, event, effects.Reached(guard.reached))
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
                touched.append(key)
    return touched


def failed(view: AnyView, event: BareEvent | RecordedEvent, error: Exception) -> RebuildFailed:
    """What a view has raised, or what the step says of it."""
    raised = error.__cause__ if isinstance(error, FoldFailed) and error.__cause__ is not None else error
    if isinstance(raised, effects.Reached):
        return EffectRefused(view.name, event, f"a fold has no effects, but it did {raised}")
    why = str(error) if isinstance(error, FoldFailed) else f"{type(error).__name__}: {error}"
    return RebuildFailed(view.name, event, why)
