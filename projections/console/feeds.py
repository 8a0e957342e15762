"""What pages hear while they are open: only what has changed, no more often than people can see."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress

from eventstore.errors import EventStoreError
from eventstore.records import RecordedEvent
from projections.console.pages import Pages, event
from projections.console.watching import Place, Seen
from projections.errors import Overtaken, ReadUnavailable
from projections.serving.tail import Change, Tail

RETRY, BEAT = b"retry: 2000\n\n", b": here\n\n"
BEAT_SECONDS = 15.0
PAUSE_SECONDS = 0.5
ROWS, LOOKED_THROUGH = 25, 500
SPOTS = 50
LATEST = 30


class Changes:
    """The parts of one page as they were told last."""

    def __init__(self, told: Iterable[tuple[str, str]] = ()) -> None:
        self._told = dict(told)
        self._beat = time.monotonic() + BEAT_SECONDS

    def of(self, parts: Iterable[tuple[str, str]]) -> bytes:
        """The events of those that have changed; a sign of life when none has for a while."""
        changed = {name: html for name, html in parts if self._told.get(name) != html}
        self._told |= changed
        if not changed and time.monotonic() < self._beat:
            return b""
        self._beat = time.monotonic() + BEAT_SECONDS
        return b"".join(event(name, html) for name, html in changed.items()) or BEAT


async def board(pages: Pages, all_seen: Mapping[tuple[str, str], Seen], until: float) -> AsyncGenerator[bytes, None]:
    """The figures of all projections."""
    yield RETRY
    changes = Changes()
    while time.time() < until:
        if told := changes.of(part for seen in all_seen.values() for part in pages.figures(seen)):
            yield told
        await asyncio.sleep(2 * PAUSE_SECONDS)


class Rows:
    """The rows of a view that have changed last, the newest first; each key once."""

    def __init__(self, seen: Seen) -> None:
        self._seen, self._next = seen, 0
        self._tail: Tail | None = None
        self._rows: OrderedDict[str, Change] = OrderedDict()
        self.problem: str | None = None

    async def wait(self) -> None:
        """Takes what has changed, as soon as something has, or a moment has passed."""
        try:
            tail = await self._followed()
            changes, self._next = await tail.after(self._next, 2 * PAUSE_SECONDS)
        except Overtaken:
            self._tail = None
            return
        except ReadUnavailable as error:
            self._tail, self.problem = None, f"The changes can't be read now: {error}"
            await asyncio.sleep(2 * PAUSE_SECONDS)
            return
        self.problem = None
        for change in changes:
            self._rows[change.key] = change
            self._rows.move_to_end(change.key)
        while len(self._rows) > ROWS:
            self._rows.popitem(last=False)

    def newest(self) -> list[Change]:
        return list(reversed(self._rows.values()))

    async def _followed(self) -> Tail:
        if self._tail is None:
            self._tail = await self._seen.place.tails.of(self._seen.view)
            self._next = max(self._tail.first, self._tail.end - LOOKED_THROUGH)
        return self._tail


async def projection(pages: Pages, seen: Seen, until: float) -> AsyncGenerator[bytes, None]:
    """One projection: its figures, what is parked, a rebuild, and its rows."""
    yield RETRY
    changes, rows = Changes(), Rows(seen)
    while time.time() < until:
        await rows.wait()
        parts = [*pages.figures(seen), ("rebuild", pages.part("rebuild", seen))]
        parts.append(("rows", pages.part("rows", seen, rows.newest(), rows.problem)))
        with suppress(ReadUnavailable):
            found = await seen.place.views.spots(seen.view, SPOTS)
            parts.append(("spots", pages.part("spots", seen, found, SPOTS)))
        if told := changes.of(parts):
            yield told
        await asyncio.sleep(PAUSE_SECONDS)


async def timeline(pages: Pages, places: Mapping[str, Place], until: float) -> AsyncGenerator[bytes, None]:
    """The latest events of all domains."""
    yield RETRY
    changes = Changes()
    while time.time() < until:
        with suppress(EventStoreError):
            if told := changes.of([("timeline", pages.part("timeline", await latest(places), True))]):
                yield told
        await asyncio.sleep(2 * PAUSE_SECONDS)


async def latest(places: Mapping[str, Place]) -> list[RecordedEvent]:
    """The latest events, the newest first. Raises `EventStoreError`."""
    found = list[RecordedEvent]()
    for place in places.values():
        found += await place.store.read_log(after=max(0, await place.store.head() - LATEST), limit=LATEST)
    return sorted(found, key=lambda event: (event.recorded_at, event.position), reverse=True)[:LATEST]
