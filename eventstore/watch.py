"""Knows where the head of the log is, and wakes whoever waits for more."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

import psycopg
from psycopg import sql

from eventstore.errors import StoreUnavailable
from eventstore.link import connect

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5
POSITION = re.compile(r"[0-9]{1,18}", re.ASCII)


class HeadWatch:
    """The highest position heard of. It only rises, unless what was heard turns out not to be true."""

    def __init__(self) -> None:
        self.position = self._sure = 0
        self._risen = asyncio.Event()

    def rise(self, position: int) -> None:
        """Say that the log has reached a position, as the store itself says."""
        self._sure = max(self._sure, position)
        self.hear(position)

    def settle(self, position: int) -> None:
        """Say so after everything that was heard: what lies beyond was never true."""
        self.rise(position)
        self.position = self._sure

    def hear(self, position: int) -> None:
        """Say that somebody says so."""
        if position > self.position:
            self.position = position
            self._risen.set()
            self._risen = asyncio.Event()

    async def wait_beyond(self, position: int, seconds: float) -> int:
        """The head as soon as it lies beyond `position`, or after `seconds`."""
        deadline = monotonic() + seconds
        while self.position <= position and (left := deadline - monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._risen.wait()
        return self.position


class Listener:
    """Feeds a watch from `NOTIFY`, and from a look every second should a notification be missed."""

    def __init__(self, conninfo: str, watch: HeadWatch, look: Callable[[], Awaitable[int]]) -> None:
        self._conninfo, self._watch, self._look = conninfo, watch, look
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen from now on; a second call changes nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="head listener")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except (psycopg.Error, StoreUnavailable) as error:
                log.info("listening was interrupted: %s", error)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _listen(self) -> None:
        connection = await connect(self._conninfo)
        try:
            [[schema]] = await (await connection.execute("SELECT current_schema()")).fetchall()
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(f"{schema}.events")))
            while True:
                self._watch.settle(await self._look())
                async for notify in connection.notifies(timeout=1.0):
                    # Whoever may connect may notify: what is no position is no more than a reason to look, and one that
                    # is not true holds until the next look.
                    if POSITION.fullmatch(notify.payload):
                        self._watch.hear(int(notify.payload))
                    else:
                        self._watch.rise(await self._look())
        finally:
            await connection.close()
