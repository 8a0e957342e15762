"""The read database on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import DataError, IntegrityError, ProgramLimitExceeded
from psycopg.rows import dict_row
from pydantic import ValidationError

from domains.kernel import Domain, Row
from eventstore.link import SILENCE_SECONDS, BoundedConnection, parameters
from projections import sql
from projections.errors import Fenced, ReadUnavailable, RowRefused, Superseded
from projections.parked import PostgresParking
from projections.parking import Spot
from projections.rows import AnyView, Held, Mark, Move, Taken, Unreadable, Want, split
from projections.tables import Table, signature, tables

PROJECTION = "views"
# A worker that is stopped in the middle of a transaction must not hold others up for longer. Between the statements of
# a pipeline the server does not count it as idle, so there is a bound for all of a transaction, too; longer than a lock
# that is waited for, a fold and the writes behind it may take together.
PAUSED = " -c idle_in_transaction_session_timeout=8s -c transaction_timeout=30s"
# What fails again whenever it is tried: the server says so, or a value can't even be sent.
UNFIT = (DataError, IntegrityError, ProgramLimitExceeded, ValueError, TypeError, AttributeError)
POSITIONS, ADVANCE, TOUCH, LOCK, FRESH, COUNTED, PARKED = (
    sql.text(name) for name in ("positions", "advance", "touch", "lock", "fresh", "counted", "parked_count")
)


class PostgresDatabase:
    """One connection, opened when needed and thrown away when broken. One transaction at a time; others wait.

    A server that hangs is hung up on after `silence` seconds: that is an outage, and none of ours stands still for it.
    """

    def __init__(self, conninfo: str, domain: Domain, silence: float = SILENCE_SECONDS) -> None:
        self._conninfo, self._tables, self._silence = conninfo, tables(domain), silence
        self._connection: BoundedConnection | None = None
        self._one = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["PostgresTransaction"]:
        async with self._one, self._connected() as connection, connection.transaction():
            yield PostgresTransaction(connection, self._tables)

    async def positions(self) -> Mapping[int, Mark]:
        async with self._one, self._connected() as connection:
            return await PostgresTransaction(connection, self._tables).positions()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection[Any]]:
        try:
            yield await self._open()
        except psycopg.Error as error:
            await self.close()
            raise ReadUnavailable(first_line(error)) from error
        except BaseException:
            if self._connection is not None and self._connection.broken:
                await self.close()
            raise

    async def fresh(self, partitions: Collection[int], head: int = 0) -> int:
        """Notes that these partitions have nothing waiting now; returns how many keys are parked.

        Nothing is noted before an event at `head`, or one behind it, is folded.
        """
        async with self.transaction() as begun:
            told = {"projection": PROJECTION, "partitions": list(partitions), "head": head}
            await begun.execute(FRESH, told)
            views = [table.name for table in self._tables.values()]
            [found] = await (await begun.execute(PARKED, {"views": views})).fetchall()
            return int(found["spots"])

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _open(self) -> AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            place = parameters(self._conninfo)
            place["options"] += PAUSED
            self._connection = await BoundedConnection.connect(autocommit=True, row_factory=dict_row, **place)
            self._connection.silence = self._silence
        return self._connection


class PostgresTransaction:
    """Rows of some tables, and the positions up to which these count."""

    def __init__(
        self, connection: AsyncConnection[Any], tables: Mapping[str, Table], projection: str = PROJECTION
    ) -> None:
        self._connection, self._tables, self._projection = connection, tables, projection
        self._views = signature(table.name for table in tables.values())

    async def execute(self, query: Any, parameters: Mapping[str, Any]) -> psycopg.AsyncCursor[Any]:
        return await self._connection.cursor(binary=True).execute(query, parameters, prepare=True)

    async def positions(self) -> Mapping[int, Mark]:
        return await marks(await self.execute(POSITIONS, {"projection": self._projection}))

    async def lock(self, view: AnyView) -> None:
        await self.execute(LOCK, {"table": self._tables[view.name].name})

    async def load(self, view: AnyView, keys: Collection[str]) -> Held:
        return await self._rows(view, await self._asked(view, keys))

    async def take(self, wants: Sequence[Want]) -> tuple[Mapping[int, Mark], list[Taken]]:
        asked = []
        async with self._connection.pipeline():  # each statement sees what others did before it, and none is waited for
            positions = await self.execute(POSITIONS, {"projection": self._projection})
            for view, keys, streams in wants:
                if view.shared:
                    await self.lock(view)
                asked.append((view, await self.parking(view).held(keys, streams), await self._asked(view, keys)))
        taken = [
            Taken({Spot(**row) for row in await held.fetchall()}, await self._rows(view, found))
            for view, held, found in asked
        ]
        return await marks(positions), taken

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        try:
            async with self._connection.pipeline():
                yield
        except UNFIT as error:
            raise RowRefused("a view", first_line(error)) from error

    async def _asked(self, view: AnyView, keys: Collection[str]) -> psycopg.AsyncCursor[Any]:
        return await self.execute(self._tables[view.name].load, {"keys": list(keys)})

    async def _rows(self, view: AnyView, found: psycopg.AsyncCursor[Any]) -> Held:
        table, raw = self._tables[view.name], await found.fetchall()
        try:
            return {getattr(row, view.key): row for row in table.rows(raw)}
        except ValidationError:
            return {row[view.key]: read(table, row) for row in raw}

    async def save(self, view: AnyView, rows: Mapping[str, Row | None]) -> None:
        table = self._tables[view.name]
        written, removed = split(rows)
        try:
            if written:
                await self.execute(table.save, table.arrays(written))
            if removed:
                await self.execute(table.remove, {"keys": removed})
        except UNFIT as error:
            raise RowRefused(view.name, first_line(error)) from error

    def parking(self, view: AnyView) -> PostgresParking:
        return PostgresParking(self._tables[view.name].name, self.execute)

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        async with self._connection.transaction():
            yield

    async def advance(self, moves: Mapping[int, Move]) -> None:
        told = {
            "projection": self._projection,
            "views": self._views,
            "partitions": list(moves),
            "olds": [move.old.position for move in moves.values()],
            "news": [move.new.position for move in moves.values()],
            "offsets": [move.new.offset for move in moves.values()],
            "moments": [move.recorded_at for move in moves.values()],
        }
        # The rows tell what was moved, since there is no count yet while others are written together with this.
        if len(await (await self.execute(ADVANCE, told)).fetchall()) != len(moves):
            counted = await (await self.execute(COUNTED, {"projection": self._projection})).fetchone()
            if counted is not None and counted["views"] != self._views:
                raise Superseded(f"the positions now count for {counted['views']}, not for {self._views}")
            believed = {partition: move.old.position for partition, move in moves.items()}
            raise Fenced(f"one of these partitions is no longer where it was: {believed}")

    async def touch(self) -> None:
        await self.execute(TOUCH, {"projection": self._projection})


async def marks(found: psycopg.AsyncCursor[Any]) -> Mapping[int, Mark]:
    return {row["partition"]: Mark(row["position"], row["offset"], row["touched"]) for row in await found.fetchall()}


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def read(table: Table, row: Mapping[str, Any]) -> Row | Unreadable:
    try:
        return table.rows([dict(row)])[0]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"][1:]))
        return Unreadable(f"its row can't be read by today's code: {where}: {first['msg']}")
