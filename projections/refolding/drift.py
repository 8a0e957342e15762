"""Holds the rows of a view against a fold of the store, made anew."""

import hashlib
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import dict_row
from psycopg.sql import SQL

from domains.kernel import Domain, Row
from eventstore.link import parameters
from eventstore.store import EventStore
from projections import sql
from projections.errors import ReadUnavailable
from projections.postgres import POSITIONS, PROJECTION
from projections.refolding.refold import Chosen, Progress, Refold
from projections.rows import AnyView
from projections.tables import Table

TRACED = 100
SKIPS, SPOTS = sql.text("skips"), sql.text("parked_spots")


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
    """What was compared: so many rows and events, up to `position`; keys that are parked are left out."""

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

    async def hold(self, view: AnyView) -> None:
        """Keeps this table in its place: what is then read of it fits the positions."""
        await self._connection.execute(SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(Table(view).identifier))

    async def positions(self) -> Mapping[int, int]:
        rows = await (await self._connection.execute(POSITIONS, {"projection": PROJECTION})).fetchall()
        return {row["partition"]: row["position"] for row in rows}

    async def aside(self, view: AnyView) -> tuple[frozenset[int], frozenset[str]]:
        """The positions of events that were taken out of the view for good, and the keys that are parked."""
        told = {"view": Table(view).name}
        skips = await (await self._connection.execute(SKIPS, told)).fetchall()
        spots = await (await self._connection.execute(SPOTS, told)).fetchall()
        return frozenset(row["position"] for row in skips), frozenset(
            row["name"] for row in spots if not row["of_stream"]
        )

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


async def verify(
    domain: Domain, view: AnyView, store: EventStore, frozen: Frozen, *, most: int | None, progress: Progress
) -> Verified:
    """Raises `StoreUnavailable`, `ReadUnavailable` and `UnreadableEvent`."""
    await frozen.hold(view)
    positions = await frozen.positions()
    skipped, parked = await frozen.aside(view)
    sampled = sample(most, await frozen.count(view))
    refold = Refold(domain, view, store, positions, skipped)

    def chosen(key: str) -> bool:
        return key not in parked and sampled(key)

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
