"""Rebuilds a view from the store beside the live one, and swaps when it has caught up; takes the swap back."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from zlib import crc32

from psycopg.errors import LockNotAvailable
from pydantic import BaseModel

from domains.kernel import Row
from eventstore.store import EventStore
from projections.errors import RebuildRefused
from projections.refolding.announce import announced
from projections.refolding.beside import Beside, Standing
from projections.refolding.proof import Proof, Sample
from projections.refolding.refold import Log, Progress, Refold, everything, nobody
from projections.rows import AnyView
from projections.tables import NEXT, PREVIOUS, Table

MEMORY = 512 * 1024 * 1024
HASHES = 1 << 32
WEIGHED = 20
# Behind by no more than this, the rest is folded while the worker waits.
NEAR = 500
ROUNDS = 20
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.3
# To copy, index and compare a row takes about as long as to fold so many events.
ROW = 1


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was made: so many rows of so many events, in so many passes; `changed` rows are not what was live before."""

    view: str
    rows: int
    events: int
    passes: int
    changed: int
    position: int
    seconds: float


class Ranges:
    """The keys taken in a pass: a range of hashes that is halved while their rows weigh more than the limit."""

    def __init__(self, limit: int) -> None:
        self.limit, self.first, self.width = limit, 0, HASHES
        self.weight, self.weighed = 0, 0

    @property
    def end(self) -> int:
        return min(HASHES, self.first + self.width)

    @property
    def whole(self) -> bool:
        return self.first == 0 and self.end == HASHES

    @property
    def passes(self) -> int:
        """How many there are if the rest goes on like this."""
        return 1 + -(-(HASHES - self.end) // self.width)

    def takes(self, key: str) -> bool:
        return self.first <= crc32(key.encode()) < self.end

    def next(self) -> None:
        self.first = self.end

    def weigh(self, rows: dict[str, Row], page_keys: list[str]) -> None:
        """Lets go of rows for a later pass when there are too many, judged by those that were touched last."""
        for key in page_keys[:WEIGHED]:
            if (row := rows.get(key)) is not None:
                self.weight, self.weighed = self.weight + weight(row) + sys.getsizeof(key) + 100, self.weighed + 1
        while self.weighed and len(rows) > 1 and len(rows) * self.weight / self.weighed > self.limit and self.width > 1:
            self.width //= 2
            for key in [key for key in rows if not self.takes(key)]:
                del rows[key]


def weight(value: Any) -> int:
    """About how many bytes of memory a row's value takes."""
    size = sys.getsizeof(value)
    if isinstance(value, BaseModel):
        return size + sys.getsizeof(value.__dict__) + sum(weight(part) for part in value.__dict__.values())
    if isinstance(value, Mapping):
        return size + sum(weight(key) + weight(part) for key, part in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return size + sum(map(weight, value))
    return size


async def rebuild(
    standing: Standing, view: AnyView, store: EventStore, *, memory: int = MEMORY, progress: Progress = nobody
) -> Rebuilt:
    """One complete version is live at any moment, also when this dies; a rebuild that died is begun anew.

    Raises `RebuildRefused`, `RebuildFailed`, `NotProved`, `UnreadableEvent`, `StoreUnavailable` and `psycopg.Error`.
    """
    began = perf_counter()
    async with standing.claimed(view), announced(standing.conninfo, Table(view).name, progress) as tell:
        beside = Beside(standing, view, NEXT)
        await beside.make()
        try:
            bounds = await standing.positions()
            skipped = await standing.skipped(view)
            refold = Refold(standing.domain, view, store, bounds, skipped)
            done, sample = Work(tell, await standing.rows(view)), Sample(sum(bounds.values()))
            filled = await fill(beside, refold, memory, done, sample)
            await beside.stand_at(bounds)
            await Proof(standing, view, store, bounds, skipped).of(beside, sample)
            done.copied(filled.rows)
            log = Log(standing.domain, store, filled.after)
            changed, events = await swap(standing, beside, log, "rebuild")
        except BaseException:
            await asyncio.shield(beside.discard())
            raise
        position = max((await standing.positions()).values(), default=0)
    return Rebuilt(
        f"{standing.domain.name}/{view.name}",
        filled.rows,
        filled.events + events,
        filled.passes,
        changed,
        position,
        round(perf_counter() - began, 3),
    )


async def rollback(standing: Standing, view: AnyView, store: EventStore) -> Rebuilt:
    """Brings the version before the last swap up to date, and swaps back. Raises what `rebuild` does."""
    began = perf_counter()
    async with standing.claimed(view):
        beside = Beside(standing, view, PREVIOUS)
        last = await (await standing.run("last_rebuild", {"name": beside.live.name})).fetchone()
        if last is None or not await standing.positions(beside.table.name):
            raise RebuildRefused(f"there is no version of {view.name} before this one")
        log = Log(standing.domain, store, last["read_to"])
        changed, events = await swap(standing, beside, log, "rollback")
        rows: int = (await standing.one("count", {}, table=beside.live.identifier))["rows"]
        position = max((await standing.positions()).values(), default=0)
    name = f"{standing.domain.name}/{view.name}"
    return Rebuilt(name, rows, events, 0, changed, position, round(perf_counter() - began, 3))


@dataclass(slots=True)
class Filled:
    rows: int = 0
    events: int = 0
    passes: int = 0
    after: int = 0


def work(folded: int, rows: int) -> int:
    """How much it is to fold so many events and to copy, index and compare so many rows, in events."""
    return folded + ROW * rows


class Work:
    """How much of a rebuild is done, counted in events; `rows` is how many there will be, as far as that is known."""

    def __init__(self, progress: Progress, rows: int) -> None:
        self._progress, self._rows = progress, rows
        self._folded, self._all = 0, 0

    def folded(self, events: int, of: int, rows: int) -> None:
        self._folded, self._all, self._rows = events, of, max(self._rows, rows)
        self._progress(events, work(of, self._rows))

    def copied(self, rows: int) -> None:
        """What is left is to compare them."""
        self._progress(work(self._folded, rows // 2), work(self._all, rows))


async def fill(beside: Beside, refold: Refold, memory: int, whole: Work, sample: Sample) -> Filled:
    """Folds all up to the bounds in memory, in as many passes as the limit makes needful, and copies the rows."""
    filled, ranges = Filled(), Ranges(memory)
    while ranges.first < HASHES:
        rows: dict[str, Row] = {}
        done = filled.passes

        def tell(at: int, end: int, done: int = done, rows: dict[str, Row] = rows) -> None:
            whole.folded(done * end + at, (done + ranges.passes) * end, filled.rows + len(rows))

        async for page in refold.pages(tell):
            touched = refold.fold(page, rows, everything if ranges.whole else ranges.takes)
            ranges.weigh(rows, touched)
        await beside.fill(rows.values())
        sample.add(rows)
        filled.rows, filled.passes, filled.events = filled.rows + len(rows), done + 1, refold.events
        ranges.next()
    filled.after = refold.after
    return filled


async def swap(standing: Standing, beside: Beside, log: Log, what: str) -> tuple[int, int]:
    """Catches up and takes over: how many rows differ from those before, and how many events were folded for it."""
    touched: set[str] = set()
    was_live = await standing.counts_for(beside.view)
    candidates = await beside.differing() if was_live else set[str]()
    loop, events = asyncio.get_running_loop(), 0
    deadline = loop.time() + PATIENCE_SECONDS
    while True:
        for _ in range(ROUNDS):
            count = await beside.follow(log, await standing.positions(), touched)
            events += count
            if count <= NEAR:
                break
        try:
            return await beside.take_over(log, candidates | touched, what), events
        except LockNotAvailable:
            if loop.time() > deadline:
                who = f"somebody keeps {beside.live.name} for himself: a verification, or a backup"
                raise RebuildRefused(f"{who}; try again later") from None
        await asyncio.sleep(PAUSE_SECONDS)
