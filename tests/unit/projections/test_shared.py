"""One question for all who ask at the same time, and none gets an answer that is older than its question."""

import asyncio

import pytest

from projections.serving.shared import Shared


class Asked:
    """Answers with how often it was asked, when it is let."""

    def __init__(self):
        self.times, self.let, self.error = 0, asyncio.Event(), None

    async def __call__(self):
        self.times += 1
        number, error = self.times, self.error
        await self.let.wait()
        if error is not None:
            raise error
        return number


async def turns():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_meanwhile_shares_the_next_answer():
    asked = Asked()
    shared = Shared(asked)
    first = asyncio.create_task(shared.answer())
    await turns()
    others = [asyncio.create_task(shared.answer()) for _ in range(8)]
    await turns()
    assert asked.times == 1
    asked.let.set()
    assert (await first, await asyncio.gather(*others)) == (1, [2] * 8)
    assert await shared.answer() == 3


async def test_who_goes_away_takes_nothing_from_the_others():
    asked = Asked()
    shared = Shared(asked)
    gone, stays = (asyncio.create_task(shared.answer()) for _ in range(2))
    await turns()
    gone.cancel()
    await turns()
    asked.let.set()
    assert await stays == 1
    assert gone.cancelled()


async def test_an_error_is_for_all_who_wait_and_the_next_ask_anew():
    asked = Asked()
    shared, asked.error = Shared(asked), ValueError("no")
    waiting = [asyncio.create_task(shared.answer()) for _ in range(2)]
    await turns()
    asked.error = None
    asked.let.set()
    for one in waiting:
        with pytest.raises(ValueError, match="no"):
            await one
    assert await shared.answer() == 2
