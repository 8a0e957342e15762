"""Who leads works until the lead is lost, or until he is told to end: whatever comes first, and both at once."""

import asyncio

import pytest

from eventstore.errors import StoreUnavailable
from eventstore.lead import while_leading


class Losing:
    """A lead that can be lost."""

    def __init__(self):
        self.gone = asyncio.Event()

    async def lost(self):
        await self.gone.wait()
        return "gone"


class Work:
    """Works until it is cancelled, and then takes until it is let go to clear up."""

    def __init__(self):
        self.clearing, self.let_go, self.cleared = asyncio.Event(), asyncio.Event(), False

    async def run(self):
        try:
            await asyncio.Event().wait()
        finally:
            self.clearing.set()
            await self.let_go.wait()
            self.cleared = True


async def test_who_has_lost_the_lead_clears_up_and_says_so():
    leading, work = Losing(), Work()
    led = asyncio.create_task(while_leading(leading, work.run()))
    leading.gone.set()
    async with asyncio.timeout(10):
        await work.clearing.wait()
        work.let_go.set()
        with pytest.raises(StoreUnavailable, match="the lead is lost: gone"):
            await led
    assert work.cleared


async def test_who_is_told_to_end_while_he_clears_up_ends():
    leading, work = Losing(), Work()
    led = asyncio.create_task(while_leading(leading, work.run()))
    leading.gone.set()
    async with asyncio.timeout(10):
        await work.clearing.wait()
        led.cancel()
        with pytest.raises(asyncio.CancelledError):
            await led


async def test_work_that_fails_is_what_is_told():
    async def failing():
        raise ValueError("unforeseen")

    work = Work()
    work.let_go.set()
    async with asyncio.timeout(10):
        with pytest.raises(ValueError, match="unforeseen"):
            await while_leading(Losing(), failing(), work.run())
    assert work.cleared
