"""Questions that come in one turn of the event loop, asked together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from eventstore.errors import EventStoreError, StoreUnavailable

Q = TypeVar("Q")
A = TypeVar("A")

MOST = 64
Waiting = tuple[Q, asyncio.Future[A]]


class Joint(Generic[Q, A]):
    """`ask` answers several questions at once, in their order. What fails together is asked again one by one."""

    def __init__(self, ask: Callable[[Sequence[Q]], Awaitable[Sequence[A]]]) -> None:
        self._ask = ask
        self._waiting: list[Waiting[Q, A]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, question: Q) -> A:
        """Raises what `ask` raises for this question."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        self._waiting.append((question, answer))
        if len(self._waiting) == 1:
            loop.call_soon(self._go)
        return await answer

    def _go(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), MOST):
            task = asyncio.create_task(self._settle(waiting[start : start + MOST]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _settle(self, group: Sequence[Waiting[Q, A]]) -> None:
        try:
            answers = await self._ask([question for question, _ in group])
        except StoreUnavailable as error:
            for _, answer in group:
                fail(answer, error)
        except EventStoreError as error:
            if len(group) == 1:
                fail(group[0][1], error)
            else:
                await asyncio.gather(*(self._settle([one]) for one in group))
        except BaseException as error:
            for _, answer in group:
                fail(answer, error)
            raise
        else:
            for (_, answer), found in zip(group, answers, strict=True):
                if not answer.done():
                    answer.set_result(found)


def fail(answer: asyncio.Future[A], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
