"""Tells how far a rebuild is, in the read database: whoever watches need not be who rebuilds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
from psycopg import AsyncConnection

from eventstore.link import parameters
from projections import sql
from projections.refolding.refold import Progress

SECONDS = 0.5
LONGEST_ERROR = 1000
BEGUN, TOLD, ENDED = (sql.text(f"rebuilding_{name}") for name in ("begun", "told", "ended"))


@asynccontextmanager
async def announced(conninfo: str, name: str, heard: Progress) -> AsyncIterator[Progress]:
    """What the block tells is heard here, and twice a second by all; its error stays until the next rebuild."""
    async with await AsyncConnection.connect(autocommit=True, **parameters(conninfo)) as connection:
        place = (0, 0)

        def tell(done: int, total: int) -> None:
            nonlocal place
            place = (done, total)
            heard(done, total)

        async def write(error: str | None = None) -> None:
            done, total = place
            # Who can't be told goes without: the rebuild matters more.
            with suppress(psycopg.Error):
                await connection.execute(TOLD, {"name": name, "done": done, "total": total, "error": error})

        async def run() -> None:
            while True:
                await asyncio.sleep(SECONDS)
                await write()

        await connection.execute(BEGUN, {"name": name})
        telling = asyncio.create_task(run(), name=f"progress of {name}")
        try:
            yield tell
        except BaseException as error:
            await stopped(telling)
            await asyncio.shield(write(str(error)[:LONGEST_ERROR] or "it was stopped"))
            raise
        await stopped(telling)
        await connection.execute(ENDED, {"name": name})


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
