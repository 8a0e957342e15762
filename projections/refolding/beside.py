"""A table of a view beside the live one: made, filled, brought up to date, and put in the live one's place."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from domains.kernel import Domain, Row
from eventstore.link import parameters, sentence
from eventstore.records import RecordedEvent
from infra.plan import CONSOLE, OPERATOR
from projections import sql
from projections.errors import ReadUnavailable, RebuildFailed, RebuildRefused
from projections.folding import failed
from projections.parking import EventPlace, Skip, Spot
from projections.postgres import COUNTED, POSITIONS, PROJECTION, PostgresTransaction
from projections.projector import Applied, Projector
from projections.refolding.effects import guarded
from projections.refolding.refold import Bounds, CatchUp, Log
from projections.rows import AnyView, Mark
from projections.sources import Source
from projections.tables import NEXT, PREVIOUS, Table, signature, tables

LOCK_MILLISECONDS = 200
LONGEST_NAME = 63
SKIPPED, SPOTS = sql.text("skipped"), sql.text("parked_spots")
READ, WRITE = SQL("GRANT SELECT ON {} TO {}"), SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}")


class Standing:
    """The read database of a domain as its owner sees it, by one connection; it stands for who is at work."""

    def __init__(self, connection: AsyncConnection[Any], domain: Domain, conninfo: str) -> None:
        self.connection, self.domain, self.conninfo = connection, domain, conninfo

    @classmethod
    @asynccontextmanager
    async def open(cls, conninfo: str, domain: Domain) -> AsyncIterator["Standing"]:
        """Raises `ReadUnavailable`, also for what the database refuses later: a full disk, say."""
        try:
            place = {"autocommit": True, "row_factory": dict_row, **parameters(conninfo)}
            async with await AsyncConnection.connect(**place) as connection:
                await connection.execute("SET statement_timeout = 0")
                yield cls(connection, domain, conninfo)
        except psycopg.Error as error:
            raise ReadUnavailable(sentence(error)) from error

    @asynccontextmanager
    async def claimed(self, view: AnyView) -> AsyncIterator[None]:
        """Nobody else rebuilds, replays or rolls back this view meanwhile. Raises `RebuildRefused`."""
        name = {"name": Table(view).name}
        if len(Table(view, PREVIOUS).name) > LONGEST_NAME:
            raise RebuildRefused(f"the name {view.name} is too long: there is no room for tables beside the live one")
        if not (await self.one("claim", name))["claimed"]:
            raise RebuildRefused(f"{view.name} is being rebuilt or replayed by somebody else at this moment")
        try:
            yield
        finally:
            with suppress(psycopg.Error):
                await self.run("unclaim", name)

    async def positions(self, projection: str = PROJECTION) -> dict[int, int]:
        rows = await (await self.connection.execute(POSITIONS, {"projection": projection})).fetchall()
        return {row["partition"]: row["position"] for row in rows}

    async def counts_for(self, view: AnyView) -> bool:
        """Whether the live positions count for the table of this view, so that it is live."""
        return Table(view).name in await self.counted()

    async def counted(self) -> set[str]:
        found = await (await self.connection.execute(COUNTED, {"projection": PROJECTION})).fetchone()
        return set(found["views"].split()) if found and found["views"] else set()

    async def skipped(self, view: AnyView) -> frozenset[EventPlace]:
        """The events that a person took out of this view for good."""
        rows = await (await self.connection.execute(SKIPPED, {"view": Table(view).name})).fetchall()
        return frozenset(EventPlace(**row) for row in rows)

    async def parked(self, view: AnyView) -> frozenset[str]:
        """The keys that wait for somebody to retry them."""
        rows = await (await self.connection.execute(SPOTS, {"view": Table(view).name})).fetchall()
        return frozenset(row["name"] for row in rows if not row["of_stream"])

    async def parked_streams(self, view: AnyView) -> list[str]:
        """The streams whose events wait, whatever keys they are of."""
        rows = await (await self.connection.execute(SPOTS, {"view": Table(view).name})).fetchall()
        return sorted(row["name"] for row in rows if row["of_stream"])

    async def take_out(self, view: AnyView, event: RecordedEvent, who: str, why: str) -> None:
        """Has a view never fold an event, also one that it could not be built with."""
        transaction = PostgresTransaction(self.connection, {view.name: Table(view)})
        spot = Spot(event.stream, of_stream=True)
        told = Skip(spot, event, "it was left out of a rebuild", who, why, datetime.now(UTC))
        await transaction.parking(view).skip(told)

    async def is_there(self, table: Table) -> bool:
        return bool((await self.one("is_there", {"name": table.name}))["there"])

    async def rows(self, view: AnyView) -> int:
        """How many the live table has; none, if there is no such table."""
        live = Table(view)
        if not await self.is_there(live):
            return 0
        return int((await self.one("count", {}, table=live.identifier))["rows"])

    async def run(self, name: str, told: Mapping[str, Any], **identifiers: Any) -> psycopg.AsyncCursor[Any]:
        return await self.connection.execute(sql.template(name).format(**identifiers), told)

    async def one(self, name: str, told: Mapping[str, Any], **identifiers: Any) -> dict[str, Any]:
        [row] = await (await self.run(name, told, **identifiers)).fetchall()
        return dict(row)


def refuse(view: AnyView, applied: Applied) -> None:
    """A version with a parked key would be no complete one. Raises `RebuildFailed`."""
    for waiting in applied.parked.get(view.name, ()):
        if waiting.error is not None:
            why = waiting.error.removeprefix(failed(view, waiting.event, ""))
            raise RebuildFailed(view.name, waiting.event, why)


class Beside:
    """One table beside the live one, and its positions: to the projector, a read database with one view."""

    def __init__(self, standing: Standing, view: AnyView, suffix: str) -> None:
        self._standing, self._connection = standing, standing.connection
        self.view, self.live, self.table = view, Table(view), Table(view, suffix)
        self._projector = Projector((guarded(view, standing.domain),), self)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        async with self._connection.transaction():
            yield self._begun

    async def positions(self) -> Mapping[int, Mark]:
        return await self._begun.positions()

    @property
    def _begun(self) -> PostgresTransaction:
        return PostgresTransaction(self._connection, {self.view.name: self.table}, self.table.name)

    async def discard(self) -> None:
        """Also what one that died has left."""
        async with self._connection.transaction():
            await self._connection.execute(SQL("DROP TABLE IF EXISTS {}").format(self.table.identifier))
            await self._standing.run("parked_clear", {"view": self.table.name})
            await self._standing.run("forget_positions", {"projection": self.table.name})

    async def make(self) -> None:
        await self.discard()
        await self._connection.execute(self.table.made)

    async def fill(self, rows: Iterable[Row]) -> None:
        """Rows with new keys."""
        async with self._connection.cursor() as cursor, cursor.copy(self.table.copy) as copy:
            copy.set_types([kind for kind, _ in self.table.columns.values()])
            values = self.table.copied
            for row in rows:
                await copy.write_row(values(row))

    async def stand_at(self, bounds: Bounds) -> None:
        """Makes the indexes, and notes up to where the rows were folded."""
        async with self._connection.transaction():
            for statement in self.table.indexes:
                await self._connection.execute(statement)
            places = {"partitions": list(bounds), "positions": list(bounds.values())}
            await self._standing.run("keep_positions", {"projection": self.table.name, **places})
        await self._connection.execute(SQL("ANALYZE {}").format(self.table.identifier))

    async def follow(self, log: Log, bounds: Bounds, touched: set[str]) -> int:
        """Folds what was recorded since, up to these positions: how many events. Collects the keys that it touches."""
        events = 0
        source: Source = CatchUp(log, self._standing.domain, bounds, await self._standing.skipped(self.view))
        async for batch in source.batches():
            applied = await self._projector.apply(batch.events)
            if self.table.suffix == NEXT:
                refuse(self.view, applied)
            events += len(applied.fresh)
            touched.update(applied.changed.get(self.view.name, ()))
        return events

    async def differing(self) -> set[str]:
        """The keys whose rows are not the live ones; under load, also of those that the live one has not reached."""
        names = {"live": self.live.identifier, "beside": self.table.identifier, "key": self.table.key}
        return {row["key"] for row in await (await self._standing.run("differing", {}, **names)).fetchall()}

    async def take_over(self, log: Log, candidates: Collection[str], what: str) -> int:
        """Swaps, in one transaction, at exactly the live positions: how many rows differ from those before.

        The worker never waits for anything while it holds what is locked here, and what it has read then is still
        true afterwards: it folds on, on the new table. Readers wait for the renaming only. Raises `LockNotAvailable`
        when somebody keeps the live table for himself.
        """
        touched = set(candidates)
        async with self._connection.transaction():
            await self._connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
            was_live = await self._standing.counts_for(self.view)
            await self._lock(was_live)
            counted = await self._standing.counted()
            await self.follow(log, await self._standing.positions(), touched)
            changed = await self._note_changed(touched, was_live)
            await self._standing.run("touch", {"projection": PROJECTION})
            await self._rename(await self._standing.positions(), was_live)
            await self._grant()
            if not was_live:
                await self._count_for(counted | {self.live.name})
            told = {"name": self.live.name, "what": what, "changed": changed, "read_to": log.after}
            await self._standing.run("note_rebuild", told)
        return changed

    async def _lock(self, was_live: bool) -> None:
        """A worker that has written has ended; one that has not waits: each begins with what is parked."""
        await self._connection.execute("LOCK TABLE parked IN EXCLUSIVE MODE")
        name = self.live.identifier if was_live else Identifier("positions")
        mode = SQL("EXCLUSIVE") if was_live else SQL("SHARE ROW EXCLUSIVE")
        await self._connection.execute(SQL("LOCK TABLE {} IN {} MODE").format(name, mode))

    async def _note_changed(self, touched: Collection[str], was_live: bool) -> int:
        """What is to be published again, by the worker: here is nobody who could."""
        names = {"live": self.live.identifier, "beside": self.table.identifier, "key": self.table.key}
        if not was_live:
            told = {"name": self.live.name}
            return (
                await self._standing.run("note_all", told, table=self.table.identifier, key=self.table.key)
            ).rowcount
        told_keys: dict[str, Any] = {"name": self.live.name, "keys": list(touched)}
        return (await self._standing.run("note_differing", told_keys, **names)).rowcount

    async def _rename(self, positions: Bounds, was_live: bool) -> None:
        """The live table becomes the previous one, and this one live; each with its positions."""
        standing, parting = self._standing, Table(self.view, "_parting")
        there = await standing.is_there(self.live)
        if there:
            await self._move(self.live, parting)
        await self._move(self.table, self.live)
        await standing.run("forget_positions", {"projection": self.table.name})
        if not there:
            return
        previous = Beside(standing, self.view, PREVIOUS)
        await previous.discard()
        await self._move(parting, previous.table)
        if was_live:
            places = {"partitions": list(positions), "positions": list(positions.values())}
            await standing.run("keep_positions", {"projection": previous.table.name, **places})

    async def _move(self, table: Table, to: Table) -> None:
        """With what is parked of it."""
        await self._connection.execute(SQL("ALTER TABLE {} RENAME TO {}").format(table.identifier, to.identifier))
        await self._standing.run("parked_move", {"old": table.name, "new": to.name})

    async def _grant(self) -> None:
        reader = Identifier(f"{self._standing.domain.name}-read")
        await self._connection.execute(WRITE.format(self.live.identifier, reader))
        for person in (OPERATOR, CONSOLE):
            await self._connection.execute(READ.format(self.live.identifier, Identifier(person)))
        remembered = {"name": self.live.name, "columns": self.live.remembered}
        await self._standing.run("remember", remembered)

    async def _count_for(self, names: set[str]) -> None:
        """From now on a worker that does not know this view is refused."""
        declared = {table.name for table in tables(self._standing.domain).values()}
        if names.issuperset(declared):
            names = declared
        await self._standing.run("count_for", {"projection": PROJECTION, "views": signature(names)})
