"""Holds some rows of each view against the store, again and again, at a rate that nobody notices."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

from domains.codec import decode
from domains.errors import DomainError
from domains.kernel import Domain, Row
from eventstore.errors import EventStoreError, InvalidEvent
from eventstore.records import RecordedEvent
from eventstore.store import EventStore
from infra.beside import beside
from infra.health import Health
from infra.partitions import partition_of
from projections import sql
from projections.errors import ProjectionError
from projections.metrics import DRIFT_ROWS
from projections.paging import Place
from projections.parking import EventPlace
from projections.postgres import PostgresDatabase
from projections.refolding.drift import HOLD, LEFT_OUT, SPOTS, as_it_is, columns_that_differ, moment, note
from projections.refolding.facts import of_one_stream
from projections.refolding.refold import fold
from projections.rows import AnyView
from projections.step import is_key
from projections.tables import Table

log = logging.getLogger(__name__)

ROWS = 10
PAGE = 200
# To ask for something costs about as much as to fold so many events.
ASKING = 30
PAUSE_SECONDS = 5.0
ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
CHOSEN = sql.template("chosen")
SUSPECTS, COUNT = sql.text("drift_suspects"), sql.text("drift_count")


@dataclass(slots=True)
class Sample:
    """Rows as they were at one moment, None where there was none, and what belongs into them."""

    at: datetime
    live: dict[str, Row | None]
    bounds: Mapping[int, int]
    left_out: frozenset[EventPlace]


@dataclass(slots=True)
class Next:
    """Where a view is looked at next: after which key of its table, and after which position of the log."""

    key: str = ""
    position: int = 0


@dataclass(slots=True)
class Sampler:
    """Notes the rows that differ from a fold of the store, and takes back a note when its row is right again.

    A sample has the next rows of the table, those that the next events of the log have touched, which may be missing,
    and some that were wrong before. `rate` is how many events a second are folded for all views together.
    """

    domain: Domain
    store: EventStore
    database: PostgresDatabase
    rate: float
    _places: dict[str, Next] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def running(self, health: Health) -> AsyncIterator[None]:
        """At work inside of the block."""
        try:
            async with beside(health, {f"samples of {view.name}": self._work(view) for view in self.domain.views}):
                yield
        finally:
            await self.database.close()

    async def once(self, view: AnyView) -> int:
        """Looks at one sample; returns how many rows of the view are known to be wrong.

        Raises `ReadUnavailable`, `RebuildFailed`, `UnreadableEvent`, `StoreUnavailable` and `EventsDetached`.
        """
        touched = await self._touched(view)
        async with self._turn:
            sample = await self._taken(view, touched)
        folded = await self._folded(view, sample)
        differ = {key: columns_that_differ(view, live, folded.get(key)) for key, live in sample.live.items()}
        wrong = {key: columns for key, columns in differ.items() if columns}
        async with self._turn, self.database.transaction() as transaction:
            await note(transaction.execute, view, sample.at, wrong, right=differ.keys() - wrong.keys())
            [found] = await (await transaction.execute(COUNT, {"view": Table(view).name})).fetchall()
        DRIFT_ROWS.labels(self.domain.name, view.name).set(found["rows"])
        return int(found["rows"])

    async def _work(self, view: AnyView) -> NoReturn:
        while True:
            try:
                await self.once(view)
            except (ProjectionError, EventStoreError, DomainError) as error:
                log.info("%s can't be held against the store now: %s", view.name, error)
                await asyncio.sleep(PAUSE_SECONDS)
            except Exception:
                log.exception("%s can't be held against the store: nobody foresaw this", view.name)
                await asyncio.sleep(PAUSE_SECONDS)
            await self._pace(5 * ASKING)

    async def _pace(self, events: int) -> None:
        await asyncio.sleep(events * len(self.domain.views) / self.rate)

    async def _touched(self, view: AnyView) -> set[str]:
        """The keys that the next events of the log touch."""
        place = self._places.setdefault(view.name, Next())
        page = await self.store.read_log(after=place.position, limit=ROWS)
        place.position = page[-1].position if len(page) == ROWS else 0
        keys = set[str]()
        for event in page:
            try:
                key = view.key_of(decode(self.domain, event))
            except Exception:  # noqa: S112
                continue  # its stream is parked
            if is_key(key):
                keys.add(key)
        return keys

    async def _taken(self, view: AnyView, touched: set[str]) -> Sample:
        table, place = Table(view), self._places[view.name]
        after = Place(key=place.key)
        async with self.database.transaction() as transaction:
            execute, told = transaction.execute, {"view": table.name}
            await execute(ONE_MOMENT, {})
            at = await moment(execute)
            await execute(HOLD.format(table.identifier), {})
            bounds = {partition: mark.position for partition, mark in (await transaction.positions()).items()}
            left_out = await (await execute(LEFT_OUT, told)).fetchall()
            spots = await (await execute(SPOTS, told)).fetchall()
            suspects = await (await execute(SUSPECTS, told | {"limit": ROWS})).fetchall()
            following = await (await execute(table.page((), after), {"after": after.key, "limit": ROWS})).fetchall()
            keys = touched | {row["key"] for row in suspects}
            chosen = CHOSEN.format(columns=table.listed, table=table.identifier, key=table.key)
            known = await (await execute(chosen, {"keys": list(keys)})).fetchall()
        place.key = following[-1][view.key] if len(following) == ROWS else ""
        live: dict[str, Row | None] = dict.fromkeys(keys)
        live |= {row[view.key]: as_it_is(view, row) for row in (*known, *following)}
        for parked in spots:
            if not parked["of_stream"]:
                live.pop(parked["name"], None)
        return Sample(at, live, bounds, frozenset(EventPlace(**row) for row in left_out))

    async def _folded(self, view: AnyView, sample: Sample) -> dict[str, Row]:
        """What the rows should be."""
        rows: dict[str, Row] = {}
        streams: Sequence[str | None] = [None]
        if of_one_stream(self.domain, view):
            streams = [self.domain.stream(key) for key in sample.live]
        for stream in streams:
            async for page in self._pages(stream, max(sample.bounds.values(), default=0)):
                fold(self.domain, view, self._within(page, sample), rows, sample.live.__contains__)
                await self._pace(ASKING + len(page))
        return rows

    async def _pages(self, stream: str | None, end: int) -> AsyncIterator[Sequence[RecordedEvent]]:
        """The events of a stream, or of the whole log, page by page."""
        after = 0
        while True:
            try:
                page = (
                    await self.store.read_log(after=after, limit=PAGE)
                    if stream is None
                    else await self.store.read_stream(stream, after=after, limit=PAGE)
                )
            except InvalidEvent:
                return  # nothing can have been recorded under such a name
            yield page
            if len(page) < PAGE or page[-1].position >= end:
                return
            after = page[-1].position if stream is None else page[-1].version

    def _within(self, page: Sequence[RecordedEvent], sample: Sample) -> Sequence[RecordedEvent]:
        """The events that the rows had seen."""
        bounds, number = sample.bounds, self.domain.partitions
        sure = min((bounds.get(partition, 0) for partition in range(number)), default=0)
        return [
            event
            for event in page
            if (event.position, event.stream) not in sample.left_out
            and (event.position <= sure or event.position <= bounds.get(partition_of(event.stream.encode(), number), 0))
        ]
