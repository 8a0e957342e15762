"""Who leads: one process for each role at a store."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
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
    """The right to do something that at most one process does."""

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

    def __init__(self, conninfo: str, role: str = "relay") -> None:
        self._conninfo, self._role = conninfo, role
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
        while not await try_to_lead(connection, self._role):
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


async def try_to_lead(connection: AsyncConnection[Any], role: str) -> bool:
    with patience(connection):
        [[ours]] = await (await connection.execute(LEAD, {"role": f"headrace {role}"})).fetchall()
    return bool(ours)


async def while_leading(leading: Leading, *works: Coroutine[Any, Any, None]) -> None:
    """Does all of them until one fails, or the lead is lost, which raises `StoreUnavailable`."""
    losing = asyncio.create_task(leading.lost())
    tasks = [losing, *map(asyncio.create_task, works)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if losing in done:
            raise StoreUnavailable(f"the lead is lost: {losing.result()}")
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        # Whoever cancels us now is heard as well, which waiting for each and passing over its end would not do.
        await asyncio.gather(*tasks, return_exceptions=True)
