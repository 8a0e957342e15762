"""One at a time for streams that several commands race for; where nobody races, nobody waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Queue:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    commands: int = 0


class Turns:
    """Of one process: who loses against another process tries again in its turn."""

    def __init__(self) -> None:
        self._queues: dict[str, Queue] = {}

    def __contains__(self, stream: str) -> bool:
        """Whether commands queue for a stream, so that whoever comes new has to as well."""
        return stream in self._queues

    @asynccontextmanager
    async def of(self, stream: str) -> AsyncIterator[None]:
        """A block that one command of a stream is in, in the order in which they came."""
        queue = self._queues.setdefault(stream, Queue())
        queue.commands += 1
        try:
            async with queue.lock:
                yield
        finally:
            queue.commands -= 1
            if not queue.commands:
                del self._queues[stream]
