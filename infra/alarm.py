"""A moment after which something is called, unless it is put off: that is an assignment, not a timer each time."""

import asyncio
from collections.abc import Callable
from math import inf


class Alarm:
    """Calls at the moment it is set to, in the loop's time; each time it is set, that moment replaces the last."""

    __slots__ = ("_at", "_call", "_handle", "_loop", "_rings_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        self._loop, self._call, self._at = loop, call, inf
        self._handle: asyncio.TimerHandle | None = None
        self._rings_at = inf  # a handle of uvloop does not say it of what is due at once

    def set(self, at: float) -> None:
        self._at = at
        if self._handle is not None:
            if at >= self._rings_at:
                return
            self._handle.cancel()
        self._rings_at, self._handle = at, self._loop.call_at(at, self._ring)

    def clear(self) -> None:
        """It does not call until it is set again."""
        self._at = inf

    def stop(self) -> None:
        """The same, and nothing of it is left in the loop."""
        self._at = inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self) -> None:
        self._handle = None
        if self._at <= self._loop.time():
            self._at = inf
            self._call()
        elif self._at < inf:
            self.set(self._at)
