"""Commands that are repeated under their `Idempotency-Key` while the first is still in work."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from domains.answers import Answer
from domains.handler import NOBODY
from domains.handler import Request as Asked
from infra.web import Problem

PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class First:
    """A command in work, and what its answer will be; None: it ended without one."""

    asked: Asked
    answer: asyncio.Future[Answer | Problem | None]


class Repeats:
    """Gives all who ask the same at once the answer of the first, in one process; else the store does."""

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._patience, self._going = patience, dict[str, First]()

    async def once(self, asked: Asked, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Raises `Problem`: the first's, or 409 when the first is not answered within `patience` seconds."""
        if (key := asked.idempotency_key) is None:
            return await work()
        while (first := self._going.get(key)) is not None:
            await asyncio.wait({first.answer}, timeout=self._patience)
            if not first.answer.done():
                raise Problem(
                    409,
                    "request-in-progress",
                    "the first request with this Idempotency-Key is still in work; repeat it later",
                    headers={"retry-after": "1"},
                )
            answer = first.answer.result()
            if answer is None or not same(asked, first.asked):
                continue  # whose turn it is now, or the store says what is wrong with another command
            if isinstance(answer, Problem):
                raise answer
            return answer
        return await self._first(key, asked, work)

    async def _first(self, key: str, asked: Asked, work: Callable[[], Awaitable[Answer]]) -> Answer:
        first = self._going[key] = First(asked, asyncio.get_running_loop().create_future())
        outcome: Answer | Problem | None = None
        try:
            outcome = await work()
        except Problem as problem:
            outcome = problem
            raise
        finally:
            del self._going[key]
            first.answer.set_result(outcome)
        return outcome


def same(one: Asked, other: Asked) -> bool:
    """Whether the same is asked, whatever the requests are called."""
    return replace(one, metadata=NOBODY) == replace(other, metadata=NOBODY)
