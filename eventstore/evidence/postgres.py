"""Seals in the tables `seals` and `seal_nodes`, beside the log."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.errors import UniqueViolation

from eventstore import sql
from eventstore.errors import EvidenceBroken, SealedElsewhere, StoreUnavailable
from eventstore.evidence.chain import FIELDS, entry_of
from eventstore.evidence.ledger import Seal, Versions, cut
from eventstore.evidence.merkle import Node
from eventstore.link import connect, patience, unanswered

ENTRIES = sql.statement("seal_entries")
PREVIOUS = sql.statement("seal_previous")
SEALS = sql.statement("seals")
LAST = sql.statement("seal_last")
LEAVES = sql.statement("seal_leaves")
NODES = sql.statement("seal_nodes")
EVERY_NODE = sql.statement("seal_every_node")
ADD = sql.statement("seal_add")
HEAD = sql.statement("head")


class PostgresLedger:
    """The seals of one database, over one connection. Whoever uses it opens another when it is lost."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def open(cls, conninfo: str) -> AsyncIterator[Self]:
        """A ledger for the time of a `with`. Raises `StoreUnavailable`."""
        connection = await connect(conninfo)
        try:
            yield cls(connection)
        finally:
            await connection.close()

    async def head(self) -> int:
        rows = await self._rows(HEAD)
        if len(rows) != 1:
            raise EvidenceBroken(f"the head of the log is {len(rows)} rows")
        return int(rows[0][0])

    async def entries(self, after: int, limit: int) -> Sequence[bytes]:
        result = (await self._run(ENTRIES, after=after, limit=limit)).pgresult
        if result is None:
            return []
        value, columns = result.get_value, range(len(FIELDS))
        return [entry_of([value(row, column) for column in columns]) for row in range(result.ntuples)]

    async def previous(self, versions: Versions) -> Mapping[bytes, bytes]:
        streams = [stream.decode() for stream in versions]
        rows = await self._rows(PREVIOUS, streams=streams, versions=list(versions.values()))
        return {stream.encode(): found for stream, found in rows}

    async def seals(self, after: int, limit: int) -> Sequence[Seal]:
        return [Seal(*row) for row in await self._rows(SEALS, after=after, limit=limit)]

    async def last(self) -> Seal | None:
        rows = await self._rows(LAST)
        return Seal(*rows[0]) if rows else None

    async def hashes(self, level: int, first: int, end: int) -> Sequence[bytes]:
        rows = await self._rows(NODES if level else LEAVES, **({"level": level} if level else {}), first=first, end=end)
        found = [row[0] for row in rows]
        return found if level else cut(b"".join(found))

    async def nodes(self) -> Mapping[Node, bytes]:
        return {(level, number): found for level, number, found in await self._rows(EVERY_NODE)}

    async def add(self, seal: Seal, nodes: Mapping[Node, bytes]) -> None:
        try:
            await self._run(
                ADD,
                after=seal.after,
                size=seal.size,
                hashes=seal.hashes,
                note=seal.note,
                levels=[level for level, _ in nodes],
                numbers=[number for _, number in nodes],
                nodes=list(nodes.values()),
            )
        except StoreUnavailable as error:
            if isinstance(error.__cause__, UniqueViolation):
                raise SealedElsewhere(f"positions after {seal.after} are sealed") from error
            raise

    async def _rows(self, query: sql.Text, **parameters: object) -> list[tuple[Any, ...]]:
        return await (await self._run(query, **parameters)).fetchall()

    async def _run(self, query: sql.Text, **parameters: object) -> AsyncCursor[Any]:
        with patience(self._connection):
            try:
                return await self._connection.cursor(binary=True).execute(query, parameters, prepare=True)
            except psycopg.Error as error:
                raise unanswered(error) from error
