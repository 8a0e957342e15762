"""Finds a view whose code changed so that it makes other rows, though its version stayed."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from psycopg.errors import QueryCanceled

from domains.errors import UnreadableEvent
from domains.kernel import Domain, Row
from eventstore.errors import EventsDetached, InvalidEvent
from eventstore.postgres import PostgresStore
from eventstore.records import RecordedEvent
from eventstore.store import EventStore
from infra.partitions import partition_of
from projections.code import fingerprint
from projections.errors import FoldChanged, RebuildFailed, Unwatched
from projections.refolding.beside import Standing
from projections.refolding.complete import has_log
from projections.refolding.drift import Drift, Frozen, differences
from projections.refolding.facts import of_one_stream
from projections.refolding.refold import Bounds, Refold, fold, without
from projections.rows import AnyView
from projections.tables import Table

ROWS, NEWEST = 200, 200
PAGE = 1000
SECONDS = 60.0


async def check(domain: Domain, place: str, store_place: str, seconds: float = SECONDS) -> list[str]:
    """Looks at views of which the code is not the one noted, and notes it when their rows are what it makes.

    Returns the names of those for which time, events or a guard were missing, or whose table was swapped meanwhile:
    nothing is noted of them, and the next look is at them again. All of them together are given `seconds`.
    The store is asked only when code has changed. Raises `FoldChanged`, `StoreUnavailable` and `ReadUnavailable`.
    """
    async with Standing.open(place, domain) as standing:
        changed = list[tuple[AnyView, str, str]]()
        for view in domain.views:
            code = fingerprint(domain, view)
            noted = await (await standing.run("folded_by", {"name": Table(view).name})).fetchone()
            if noted is None:
                await note(standing, view, code)
            elif noted["code"] != code:
                changed.append((view, code, noted["written"]))
        if not changed or not await has_log(store_place):
            return []
        unseen = list[str]()
        async with PostgresStore.open(store_place) as store:
            for view, code, written in changed:
                try:
                    async with asyncio.timeout(seconds / len(changed)):
                        await compare(domain, view, store, place)
                    if not await note(standing, view, code, written):
                        unseen.append(view.name)
                except (TimeoutError, EventsDetached, Unwatched):
                    unseen.append(view.name)
        return unseen


async def note(standing: Standing, view: AnyView, code: str, written: str | None = None) -> bool:
    """False: since the note was read, somebody else has written it."""
    told = {"name": Table(view).name, "code": code, "written": written}
    return bool((await standing.run("note_fold", told)).rowcount)


async def compare(domain: Domain, view: AnyView, store: EventStore, place: str) -> None:
    """Folds some rows anew, the same ones each time, and those that the newest events touch.

    Raises `FoldChanged`, and `TimeoutError` also when the database ends a statement that takes too long.
    """
    async with Frozen.open(place) as frozen:
        try:
            found = await first_difference(domain, view, store, frozen)
        except (RebuildFailed, UnreadableEvent) as error:
            raise FoldChanged(domain, view, str(error)) from error
        except QueryCanceled as error:
            raise TimeoutError from error
    if found is not None:
        raise FoldChanged(domain, view, f"of key {found.key!r} the column {found.column!r} would have another value")


async def first_difference(domain: Domain, view: AnyView, store: EventStore, frozen: Frozen) -> Drift | None:
    await frozen.hold(view)
    bounds = await frozen.positions()
    left_out, parked = await frozen.aside(view)
    live = await frozen.some(view, ROWS)
    newest = await store.read_log(after=max(0, max(bounds.values(), default=0) - NEWEST), limit=NEWEST)
    touched = set[str]()

    def chosen(key: str) -> bool:
        touched.add(key)
        return False

    fold(domain, view, without(within(domain, newest, bounds), left_out), {}, chosen)
    live |= await frozen.chosen(view, touched - live.keys())
    keys = (live.keys() | touched) - parked
    folded = dict[str, Row]()
    if of_one_stream(domain, view):
        for key in sorted(keys):
            async for page in stream(store, domain.stream(key)):
                fold(domain, view, without(within(domain, page, bounds), left_out), folded, keys.__contains__)
    else:
        folded = await Refold(domain, view, store, bounds, left_out).rows(keys.__contains__)
    for key in sorted(keys):
        for drift in differences(view, key, live.get(key), folded.get(key)) if key in live or key in folded else ():
            return drift
    return None


async def stream(store: EventStore, name: str) -> AsyncIterator[Sequence[RecordedEvent]]:
    after = 0
    while True:
        try:
            page = await store.read_stream(name, after=after, limit=PAGE)
        except InvalidEvent:
            return  # nothing can have been recorded under such a name
        yield page
        if len(page) < PAGE:
            return
        after = page[-1].version


def within(domain: Domain, page: Sequence[RecordedEvent], bounds: Bounds) -> list[RecordedEvent]:
    """The events that the rows have seen."""
    return [
        event
        for event in page
        if event.position <= bounds.get(partition_of(event.stream.encode(), domain.partitions), 0)
    ]
