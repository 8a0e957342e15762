"""Who leads: one process for each store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import psycopg
from psycopg import AsyncConnection

from eventstore import sql
from eventstore.errors import StoreUnavailable
from eventstore.link import connect, patience, sentence

LEAD = sql.statement("lead")
POLL_SECONDS = 0.25
CHECK_SECONDS = 2.0
# What a leader before us has sent may still be on its way.
TAKEOVER_SECONDS = 0.5


class Lead(Protocol):
    """The right to publish, which at most one process has."""

    @property
    def elsewhere(self) -> bool:
        """Whether another process leads, and we wait."""

    def held(self) -> AbstractAsyncContextManager["Leading"]:
        """Waits until we lead. Raises `StoreUnavailable`."""


class Leading(Protocol):
    async def lost(self) -> str:
        """Returns, with the reason, when we no longer lead."""


class Alone:
    """There is only one process: it leads."""

    elsewhere = False

    @asynccontextmanager
    async def held(self) -> AsyncIterator["Alone"]:
        yield self

    async def lost(self) -> str:
        await asyncio.Event().wait()
        return ""


class PostgresLead:
    """Held by a lock of a connection of its own: whoever loses the connection no longer leads."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self.elsewhere = False

    @asynccontextmanager
    async def held(self) -> AsyncIterator["HeldLock"]:
        connection = await connect(self._conninfo)
        try:
            await self._acquire(connection)
            yield HeldLock(connection)
        except psycopg.Error as error:
            raise StoreUnavailable(sentence(error)) from error
        finally:
            self.elsewhere = False
            await connection.close()

    async def _acquire(self, connection: AsyncConnection[Any]) -> None:
        while not await try_to_lead(connection):
            self.elsewhere = True
            await asyncio.sleep(POLL_SECONDS)
        if self.elsewhere:
            self.elsewhere = False
            await asyncio.sleep(TAKEOVER_SECONDS)


class HeldLock:
    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection

    async def lost(self) -> str:
        try:
            while True:
                async for _ in self._connection.notifies(timeout=CHECK_SECONDS):
                    pass
                with patience(self._connection, CHECK_SECONDS):
                    await self._connection.execute("SELECT 1")
        except psycopg.Error as error:
            return sentence(error)


async def try_to_lead(connection: AsyncConnection[Any]) -> bool:
    with patience(connection):
        [[ours]] = await (await connection.execute(LEAD)).fetchall()
    return bool(ours)
