"""Accepted commands and their outcomes, beside the log: what was promised to be done, and what came of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, Self
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, AsyncCursor

from eventstore import sql
from eventstore.errors import IdempotencyConflict
from eventstore.link import connect, hung_up, patience, unanswered

ACCEPT = sql.statement("operation_accept")
FIND = sql.statement("operation_find")
ANSWER = sql.statement("operation_answer")
EXPIRE = sql.statement("operation_expire")
PAGE = 10_000  # so that no statement takes longer than it may, however many there are


@dataclass(frozen=True, slots=True)
class Operation:
    """One accepted command: whose it is, the digest of what was asked, and the answer when there is one.

    `keys` are those under which it was sealed, `outside` is the digest of what can be read without them.
    """

    id: str
    owner: str
    fingerprint: bytes
    answer: bytes | None = None
    outside: bytes = b""
    keys: tuple[UUID, ...] = ()


class Operations(Protocol):
    """Where operations are kept."""

    async def accept(self, operation: Operation) -> Operation:
        """Keeps it, or returns the one that is there. Raises `IdempotencyConflict` if that asked something else."""

    async def find(self, id: str) -> Operation | None:
        """The operation of that id, or None."""

    async def answer(self, id: str, answer: bytes) -> None:
        """Keeps what came of it; the first answer stays."""

    async def expire(self, older_than: timedelta) -> None:
        """Forgets those that were accepted before."""


class MemoryOperations:
    """The operations of one process."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Operation, datetime]] = {}

    async def accept(self, operation: Operation) -> Operation:
        kept, _ = self._kept.setdefault(operation.id, (operation, datetime.now(UTC)))
        return same(operation, kept)

    async def find(self, id: str) -> Operation | None:
        return self._kept[id][0] if id in self._kept else None

    async def answer(self, id: str, answer: bytes) -> None:
        if id in self._kept and self._kept[id][0].answer is None:
            operation, at = self._kept[id]
            self._kept[id] = replace(operation, answer=answer), at

    async def expire(self, older_than: timedelta) -> None:
        before = datetime.now(UTC) - older_than
        self._kept = {id: kept for id, kept in self._kept.items() if kept[1] > before}


class PostgresOperations:
    """The table `operations`, over one connection that is opened anew when it is lost. Raises `StoreUnavailable`."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo, self._turn = conninfo, asyncio.Lock()
        self._connection: AsyncConnection[Any] | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, conninfo: str) -> AsyncIterator[Self]:
        """The operations of a store for the time of a `with`; it connects when it is first asked."""
        operations = cls(conninfo)
        try:
            yield operations
        finally:
            if operations._connection is not None:
                await operations._connection.close()

    async def accept(self, operation: Operation) -> Operation:
        given = {"id": operation.id, "owner": operation.owner, "fingerprint": operation.fingerprint}
        await self._run(ACCEPT, **given, outside=operation.outside, keys=[*operation.keys])
        return same(operation, await self.find(operation.id) or operation)

    async def find(self, id: str) -> Operation | None:
        if (row := await self._run(FIND, id=id)) is None:
            return None
        id, owner, fingerprint, answer, outside, keys = row
        return Operation(id, owner, fingerprint, answer, outside, tuple(keys))

    async def answer(self, id: str, answer: bytes) -> None:
        await self._run(ANSWER, id=id, answer=answer)

    async def expire(self, older_than: timedelta) -> None:
        while (row := await self._run(EXPIRE, older_than=older_than, limit=PAGE)) and row[0] == PAGE:
            continue

    async def _run(self, statement: sql.Text, **given: Any) -> tuple[Any, ...] | None:
        async with self._turn:
            if self._connection is None or hung_up(self._connection):
                self._connection = await connect(self._conninfo)
            try:
                with patience(self._connection):
                    cursor: AsyncCursor[tuple[Any, ...]] = await self._connection.execute(statement, given)
                    return await cursor.fetchone() if cursor.description else None
            except psycopg.Error as error:
                raise unanswered(error) from error


def same(asked: Operation, kept: Operation) -> Operation:
    """The operation that is kept, if it asked the same."""
    if (kept.owner, kept.fingerprint) != (asked.owner, asked.fingerprint):
        raise IdempotencyConflict(asked.id)
    return kept
