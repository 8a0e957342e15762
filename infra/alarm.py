"""Moments after which something happens unless it is put off: an assignment then, not a timer each time."""

import asyncio
from collections.abc import Callable
from math import inf


class Alarm:
    """Calls at the moment it is set to, in the loop's time; each time it is set, that moment replaces the last."""

    __slots__ = ("_at", "_call", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        self._loop, self._call, self._at = loop, call, inf
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        self._at = at
        if self._handle is None:
            self._handle = self._loop.call_at(at, self._ring)
        elif at < self._handle.when():
            self._handle.cancel()
            self._handle = self._loop.call_at(at, self._ring)

    @property
    def at(self) -> float:
        """The moment; infinity when it is not set."""
        return self._at

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


class Deadlines:
    """Ends what lasts too long, with one timer for all: most ends long before, and a timer of its own is dear."""

    __slots__ = ("_alarm", "_loop", "_moments")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._alarm = loop, Alarm(loop, self._ring)
        self._moments: dict[asyncio.Timeout, float] = {}

    def guard(self, limit: asyncio.Timeout, at: float) -> None:
        """Has the block of a limit without a moment of its own time out `at`, in the loop's time."""
        self._moments[limit] = at
        self._alarm.set(min(at, self._alarm.at))

    def forget(self, limit: asyncio.Timeout) -> bool:
        """That block may last from now on; whether its time had not come."""
        return self._moments.pop(limit, None) is not None

    def _ring(self) -> None:
        now = self._loop.time()
        over = [limit for limit, at in self._moments.items() if at <= now]
        for limit in over:
            del self._moments[limit]
            limit.reschedule(now)
        if self._moments:
            self._alarm.set(min(self._moments.values()))
