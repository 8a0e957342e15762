"""Holds the rows of a view against a fold of the store, made anew."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import dict_row
from psycopg.sql import SQL
from pydantic import TypeAdapter, ValidationError

from domains.kernel import Domain, Row
from eventstore.link import parameters
from eventstore.store import EventStore
from projections import sql
from projections.errors import ReadUnavailable
from projections.parking import EventPlace
from projections.postgres import POSITIONS, PROJECTION
from projections.refolding.refold import Chosen, Progress, Refold
from projections.refolding.tracing import since
from projections.rows import AnyView
from projections.tables import Table

TRACED = 100
HOLD = SQL("LOCK TABLE {} IN ACCESS SHARE MODE")
LEFT_OUT, SPOTS = sql.text("left_out"), sql.text("parked_spots")
BLOCKS = sql.text("blocks")
# At least so many blocks, and at most twice as many: each row of the sample can come from another one.
READ, WHOLE = 256, 100.0
MOMENT = sql.text("moment")
WRONG, RIGHT, OTHERS_RIGHT = (sql.text(f"drift_{name}") for name in ("wrong", "right", "others_right"))
Execute = Callable[[Any, Mapping[str, Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Drift:
    """A column that differs: `live` is what the table has, `folded` what the store says.

    `since` is the position of the event from which on the row is wrong: it is right up to the one before it. Of a row
    that the fold once made, that is the event after; `how` is None. Of any other it is the first event that makes this
    row when nothing else went wrong than that it was "left out" or "folded twice": `how` says which.
    None: neither explains the row, or nobody looked, since `TRACED` other rows differ or it has too many events to try.
    """

    key: str
    column: str
    live: Any
    folded: Any
    since: int | None = None
    how: str | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What was compared: so many rows and events, up to `position`; keys that are parked are left out, and of other
    rows the events that wait with their stream.

    `at` is when the rows were read, by the clock of their database.
    """

    view: str
    at: datetime
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
        await self._connection.execute(HOLD.format(Table(view).identifier))

    async def moment(self) -> datetime:
        return await moment(self._connection.execute)

    async def positions(self) -> Mapping[int, int]:
        rows = await (await self._connection.execute(POSITIONS, {"projection": PROJECTION})).fetchall()
        return {row["partition"]: row["position"] for row in rows}

    async def aside(self, view: AnyView) -> tuple[frozenset[EventPlace], frozenset[str]]:
        """The events that are in no row, skipped or parked by now, and the keys that are parked."""
        told = {"view": Table(view).name}
        left_out = await (await self._connection.execute(LEFT_OUT, told)).fetchall()
        spots = await (await self._connection.execute(SPOTS, told)).fetchall()
        return frozenset(EventPlace(**row) for row in left_out), frozenset(
            row["name"] for row in spots if not row["of_stream"]
        )

    async def count(self, view: AnyView) -> int:
        query = sql.template("count").format(table=Table(view).identifier)
        [row] = await (await self._connection.execute(query)).fetchall()
        return int(row["rows"])

    async def some(self, view: AnyView, most: int) -> dict[str, Row]:
        """So many rows from all over the table, the same each time; of a large table only some blocks are read."""
        told = {"table": Table(view).identifier.as_string(self._connection)}
        [row] = await (await self._connection.execute(BLOCKS, told)).fetchall()
        share = share_of(row["blocks"])
        while len(found := await self._rows(view, "sampled", limit=most, share=share)) < most and share < WHOLE:
            share *= 2
        return found

    async def chosen(self, view: AnyView, keys: Collection[str]) -> dict[str, Row]:
        """The rows with these keys, as far as they are there."""
        return await self._rows(view, "chosen", keys=list(keys))

    async def _rows(self, view: AnyView, statement: str, **told: Any) -> dict[str, Row]:
        table = Table(view)
        query = sql.template(statement).format(columns=table.listed, table=table.identifier, key=table.key)
        found = await (await self._connection.execute(query, told)).fetchall()
        return {row[view.key]: as_it_is(view, row) for row in found}

    async def rows(self, view: AnyView) -> AsyncIterator[Row]:
        table = Table(view)
        query = sql.template("every").format(columns=table.listed, table=table.identifier, key=table.key)
        async with self._connection.cursor(name="every") as cursor:
            await cursor.execute(query)
            async for row in cursor:
                yield as_it_is(view, row)


def share_of(blocks: int) -> float:
    """How many percent of the blocks are read: by halves, so that a table that grows keeps its sample for long."""
    share = WHOLE
    while share * blocks > 2 * READ * WHOLE:
        share /= 2
    return share


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
    at, positions = await frozen.moment(), await frozen.positions()
    left_out, parked = await frozen.aside(view)
    sampled = sample(most, await frozen.count(view))
    refold = Refold(domain, view, store, positions, left_out)

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
    found_since = await since(domain, view, refold, live) if live else {}
    traced = [
        replace(one, since=told.position, how=told.how) if (told := found_since.get(one.key)) is not None else one
        for one in drift
    ]
    return Verified(f"{domain.name}/{view.name}", at, rows, events, max(positions.values(), default=0), traced)


def differences(view: AnyView, key: str, live: Row | None, folded: Row | None) -> Collection[Drift]:
    if live is None or folded is None:
        return [Drift(key, view.key, shown(live, view.key), shown(folded, view.key))]
    return [
        Drift(key, name, shown(live, name), shown(folded, name))
        for name in view.row.model_fields
        if getattr(live, name) != getattr(folded, name)
    ]


def columns_that_differ(view: AnyView, live: Row | None, folded: Row | None) -> list[str]:
    """None at all, if the row is right; the key, if only one of them is there."""
    if live is None and folded is None:
        return []
    return [one.column for one in differences(view, "", live, folded)]


def as_it_is(view: AnyView, values: Mapping[str, Any]) -> Row:
    """A row of the table; also one that the view could never have made."""
    try:
        row: Row = view.row.model_validate(values)
    except ValidationError:
        row = view.row.model_construct(None, **{name: as_far_as_valid(view, name, values[name]) for name in values})
    return row


def as_far_as_valid(view: AnyView, column: str, value: Any) -> Any:
    try:
        return TypeAdapter(view.row.model_fields[column].annotation).validate_python(value)
    except ValidationError:
        return value


def shown(row: Row | None, column: str) -> Any:
    return None if row is None else row.model_dump(mode="json", warnings=False)[column]


async def moment(execute: Execute) -> datetime:
    """Not later than what the transaction sees."""
    [row] = await (await execute(MOMENT, {})).fetchall()
    at: datetime = row["moment"]
    return at


async def note(
    execute: Execute, view: AnyView, at: datetime, wrong: Mapping[str, Sequence[str]], right: Collection[str] | None
) -> None:
    """Keeps for people which rows were wrong at a moment, by their columns, and no longer which were right; None: all
    others. What was noted after that moment stays.
    """
    told: dict[str, Any] = {"view": Table(view).name, "at": at, "keys": list(wrong)}
    if wrong:
        await execute(WRONG, told | {"columns": [", ".join(columns) for columns in wrong.values()]})
    if right is None:
        await execute(OTHERS_RIGHT, told | {"wrong": list(wrong)})
    elif right:
        await execute(RIGHT, told | {"right": list(right)})
