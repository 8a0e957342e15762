"""Writes of one turn of the loop, which go out together.

Each write may wake up the process at the other end. One that is woken for every message, and sleeps again before the
next comes, costs both sides about a fifth of what a message costs in all.
"""

import asyncio
from weakref import WeakKeyDictionary

MOST = 32


class Outbox:
    """Holds what is written until the loop has done what it has to do now, or until so much is here that others wait.

    Whoever closes a connection, or writes to it past the outbox, flushes before.
    """

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
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


_OUTBOXES = WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox]()


def outbox(loop: asyncio.AbstractEventLoop) -> Outbox:
    """The one of this loop: services at several ports, and the connections behind them, share it."""
    found = _OUTBOXES.get(loop)
    if found is None:
        found = _OUTBOXES[loop] = Outbox(loop)
    return found
