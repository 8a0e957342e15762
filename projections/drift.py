"""Holds the rows of a view against a fold of the store, made anew."""

import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import dict_row

from domains.codec import decode
from domains.kernel import Domain, Row
from eventstore.link import parameters
from eventstore.records import RecordedEvent
from eventstore.store import EventStore
from infra.kafka import partition_of
from projections import sql
from projections.errors import ReadUnavailable
from projections.postgres import POSITIONS, PROJECTION
from projections.rows import AnyView
from projections.tables import Table

PAGE = 1000
TRACED = 100
Chosen = Callable[[str], bool]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Drift:
    """A column that differs: `live` is what the table has, `folded` what the store says.

    `since` is the position of the event from which on the row is wrong: the row is right up to the one before it.
    None: the row is none that the fold ever made.
    """

    key: str
    column: str
    live: Any
    folded: Any
    since: int | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What was compared: so many rows and events, up to `position`."""

    view: str
    rows: int
    events: int
    position: int
    drift: list[Drift]


class Frozen:
    """A read database as it stands at one moment."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def open(cls, conninfo: str) -> AsyncIterator["Frozen"]:
        """Raises `ReadUnavailable`."""
        try:
            async with await AsyncConnection.connect(row_factory=dict_row, **parameters(conninfo)) as connection:
                await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
                await connection.set_read_only(True)
                yield cls(connection)
        except psycopg.Error as error:
            raise ReadUnavailable(str(error).strip().partition("\n")[0]) from error

    async def positions(self) -> Mapping[int, int]:
        rows = await (await self._connection.execute(POSITIONS, {"projection": PROJECTION})).fetchall()
        return {row["partition"]: row["position"] for row in rows}

    async def count(self, view: AnyView) -> int:
        query = sql.template("count").format(table=Table(view).identifier)
        [row] = await (await self._connection.execute(query)).fetchall()
        return int(row["rows"])

    async def rows(self, view: AnyView) -> AsyncIterator[Row]:
        table = Table(view)
        query = sql.template("every").format(columns=table.listed, table=table.identifier, key=table.key)
        async with self._connection.cursor(name="every") as cursor:
            await cursor.execute(query)
            async for row in cursor:
                yield view.row.model_validate(row)


def sample(most: int | None, rows: int) -> Chosen:
    """Chooses about so many keys, the same each time; all when there are not more."""
    if most is None or rows <= most:
        return lambda _: True
    below = most / rows * 2**64
    return lambda key: int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) < below


class Refold:
    """Folds a view from the store, up to where each partition of the live one is."""

    def __init__(self, domain: Domain, view: AnyView, store: EventStore, positions: Mapping[int, int]) -> None:
        self._domain, self._view, self._store, self._positions = domain, view, store, positions
        self.events = 0

    async def rows(self, chosen: Chosen, progress: Progress) -> dict[str, Row]:
        rows: dict[str, Row] = {}
        async for _, key, fact in self._facts(chosen, progress):
            row = self._view.project(rows.get(key), fact)
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
        return rows

    async def since(self, live: Mapping[str, Row | None]) -> dict[str, int | None]:
        """From which position on each of these rows is wrong."""
        rows: dict[str, Row | None] = dict.fromkeys(live)
        wrong: dict[str, int | None] = dict.fromkeys(live)
        right = {key: row is None for key, row in live.items()}
        async for event, key, fact in self._facts(live.__contains__, lambda *_: None):
            rows[key] = self._view.project(rows[key], fact)
            if rows[key] == live[key]:
                right[key], wrong[key] = True, None
            elif right[key]:
                right[key], wrong[key] = False, event.position
        return wrong

    async def _facts(self, chosen: Chosen, progress: Progress) -> AsyncIterator[tuple[RecordedEvent, str, Any]]:
        after, end = 0, max(self._positions.values(), default=0)
        self.events = 0
        while after < end and (page := await self._store.read_log(after=after, limit=PAGE)):
            for event in page:
                partition = partition_of(event.stream.encode(), self._domain.partitions)
                if event.position > self._positions.get(partition, 0):
                    continue
                self.events += 1
                fact = decode(self._domain, event)
                key = self._view.key_of(fact)
                if key is not None and chosen(key):
                    yield event, key, fact
            after = page[-1].position
            progress(min(after, end), end)


async def verify(
    domain: Domain, view: AnyView, store: EventStore, frozen: Frozen, *, most: int | None, progress: Progress
) -> Verified:
    """Raises `StoreUnavailable`, `ReadUnavailable` and `UnreadableEvent`."""
    positions = await frozen.positions()
    chosen = sample(most, await frozen.count(view))
    refold = Refold(domain, view, store, positions)
    folded = await refold.rows(chosen, progress)
    events, rows, drift, live = refold.events, 0, list[Drift](), dict[str, Row | None]()
    async for row in frozen.rows(view):
        key = getattr(row, view.key)
        if not chosen(key):
            continue
        rows += 1
        found = list(differences(view, key, row, folded.pop(key, None)))
        drift += found
        if found and len(live) < TRACED:
            live[key] = row
    for key, missing in folded.items():
        drift += differences(view, key, None, missing)
        if len(live) < TRACED:
            live[key] = None
    since = await refold.since(live) if live else {}
    traced = [Drift(one.key, one.column, one.live, one.folded, since.get(one.key)) for one in drift]
    return Verified(f"{domain.name}/{view.name}", rows, events, max(positions.values(), default=0), traced)


def differences(view: AnyView, key: str, live: Row | None, folded: Row | None) -> Collection[Drift]:
    if live is None or folded is None:
        return [Drift(key, view.key, shown(live, view.key), shown(folded, view.key))]
    return [
        Drift(key, name, shown(live, name), shown(folded, name))
        for name in view.row.model_fields
        if getattr(live, name) != getattr(folded, name)
    ]


def shown(row: Row | None, column: str) -> Any:
    return None if row is None else row.model_dump(mode="json")[column]
