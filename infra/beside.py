"""Work that runs beside a server for as long as that serves."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from infra.health import Health

log = logging.getLogger(__name__)


@asynccontextmanager
async def beside(health: Health, work: Mapping[str, Coroutine[Any, Any, object]]) -> AsyncIterator[None]:
    """Runs all of it, by name, inside of the block.

    What fails, or is cancelled by somebody else, is not begun again, for nobody knows in what state it is: the process
    is then no longer alive.
    """
    over = asyncio.Event()
    tasks = [asyncio.create_task(one, name=name) for name, one in work.items()]
    for task in tasks:
        task.add_done_callback(partial(tell, health, over))
    try:
        yield
    finally:
        over.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def tell(health: Health, over: asyncio.Event, ended: asyncio.Task[object]) -> None:
    if ended.cancelled() and over.is_set():
        return
    error = asyncio.CancelledError() if ended.cancelled() else ended.exception()
    if error is None:
        return
    log.critical("%s ended by an unforeseen error", ended.get_name(), exc_info=error)
    for check in (health.check, health.vital):
        check(ended.get_name(), lambda: f"it ended: {type(error).__name__}")
