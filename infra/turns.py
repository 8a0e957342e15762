"""Writes of one turn of the loop, which go out together.

Each write may wake up the process at the other end. One that is woken for every message, and sleeps again before the
next comes, costs both sides about a fifth of what a message costs in all.
"""

import asyncio
from weakref import WeakKeyDictionary, proxy

MOST = 32


class Turn:
    """Holds what is written until the loop has done what it has to do now, or until so much is here that others wait.

    Whoever closes a connection, or writes to it otherwise, flushes before.
    """

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = proxy(loop)  # it would keep its own key below for ever
        self._waiting: list[tuple[asyncio.WriteTransport, bytes]] = []

    def write(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        self._waiting.append((transport, data))
        if len(self._waiting) == 1:
            self._loop.call_soon(self.flush)
        elif len(self._waiting) >= MOST:
            self.flush()

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            if not transport.is_closing():
                transport.write(data)


_TURNS = WeakKeyDictionary[asyncio.AbstractEventLoop, Turn]()


def turn_of(loop: asyncio.AbstractEventLoop) -> Turn:
    """The one of this loop: services at several ports, and the connections behind them, share it."""
    found = _TURNS.get(loop)
    if found is None:
        found = _TURNS[loop] = Turn(loop)
    return found
