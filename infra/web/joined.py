"""Fewer writes: each costs a TLS record and a system call, which is more than most of what we do for a request."""

import asyncio
from typing import Any

MOST_HELD = 64 * 1024


class Joined:
    """A transport that writes at the end of the loop's turn, in one piece, what was written during it.

    All else is the transport's own. What is held is bounded, so that a slow reader is still noticed.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []
        self._held = 0

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        self._held += len(data)
        if self._held > MOST_HELD:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        parts, self._parts, self._held = self._parts, [], 0
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))
