"""One question at a time for all who ask it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Who asks while an answer is on its way gets the next one, together with all who came meanwhile.

    So no answer is older than its question.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._going: asyncio.Task[T] | None = None
        self._coming: asyncio.Task[T] | None = None

    async def answer(self) -> T:
        """Raises what asking raises."""
        if self._coming is None:
            self._coming = asyncio.create_task(self._after(self._going))
            self._coming.add_done_callback(heard)
        return await asyncio.shield(self._coming)

    async def _after(self, going: asyncio.Task[T] | None) -> T:
        if going is not None and not going.done():
            await asyncio.wait({going})
        self._going, self._coming = self._coming, None
        return await self._ask()


def heard(task: asyncio.Task[T]) -> None:
    """All who waited may have gone away."""
    if not task.cancelled():
        task.exception()
