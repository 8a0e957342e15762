"""A few connections for reading, opened when needed and thrown away when broken."""

import asyncio
from typing import Any, LiteralString

import psycopg
from psycopg import AsyncConnection, AsyncCursor

from eventstore.errors import StoreUnavailable
from eventstore.link import connect, patience, unanswered

Rows = list[tuple[Any, ...]]


class Readers:
    """Runs single reading statements. Raises `StoreUnavailable` or `EventsDetached` when there is no answer."""

    def __init__(self, conninfo: str, size: int = 4) -> None:
        self._conninfo = conninfo
        self._idle: list[AsyncCursor[Any]] = []
        self._places = asyncio.Semaphore(size)
        self._closed = False

    async def fetch(self, query: LiteralString, parameters: dict[str, object] | None = None) -> Rows:
        """The rows. A connection that turns out broken is replaced, and the statement repeated."""
        async with self._places:
            while True:
                fresh = not self._idle
                cursor = await self._open() if fresh else self._idle.pop()
                try:
                    return await self._run(cursor, query, parameters)
                except psycopg.Error as error:
                    if fresh or not cursor.connection.closed:
                        raise unanswered(error) from error

    async def _run(self, cursor: AsyncCursor[Any], query: LiteralString, parameters: dict[str, object] | None) -> Rows:
        try:
            with patience(cursor.connection):
                await cursor.execute(query, parameters, prepare=True)
                return await cursor.fetchall()
        finally:
            await self._give_back(cursor)

    async def _open(self) -> AsyncCursor[Any]:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        connection: AsyncConnection[Any] = await connect(self._conninfo)
        return connection.cursor(binary=True)

    async def _give_back(self, cursor: AsyncCursor[Any]) -> None:
        if self._closed or cursor.connection.closed:
            await cursor.connection.close()
        else:
            self._idle.append(cursor)

    async def close(self) -> None:
        self._closed = True
        while self._idle:
            await self._idle.pop().connection.close()
