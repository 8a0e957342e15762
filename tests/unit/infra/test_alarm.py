"""An alarm rings at the moment it was last set to, and not before."""

import asyncio

import pytest

from infra.alarm import Alarm, Deadlines

pytestmark = pytest.mark.asyncio


class Clock:
    """Alarms of this loop, and when they rang."""

    def __init__(self):
        self.loop, self.rang, self.heard = asyncio.get_running_loop(), [], asyncio.Event()
        self.alarm = Alarm(self.loop, self.ring)
        self.began = self.loop.time()

    def ring(self):
        self.rang.append(self.loop.time() - self.began)
        self.heard.set()

    async def passed(self, seconds):
        over = asyncio.Event()
        self.loop.call_later(seconds, over.set)
        await over.wait()


async def test_it_rings_once_at_its_moment():
    clock = Clock()
    clock.alarm.set(clock.began + 0.02)
    await clock.passed(0.05)
    assert len(clock.rang) == 1
    assert clock.rang[0] >= 0.02


@pytest.mark.parametrize("first", [0.01, 0.09])
async def test_the_last_moment_counts(first):
    clock = Clock()
    clock.alarm.set(clock.began + first)
    clock.alarm.set(clock.began + 0.04)
    async with asyncio.timeout(2):
        await clock.heard.wait()
    await clock.passed(0.06)
    assert len(clock.rang) == 1
    assert clock.rang[0] >= 0.04


@pytest.mark.parametrize("end", [Alarm.clear, Alarm.stop])
async def test_what_is_cleared_does_not_ring_and_can_be_set_again(end):
    clock = Clock()
    clock.alarm.set(clock.began + 0.01)
    end(clock.alarm)
    await clock.passed(0.03)
    assert clock.rang == []
    clock.alarm.set(clock.began + 0.04)
    await clock.passed(0.03)
    assert len(clock.rang) == 1


async def lasting(deadlines, seconds, ends):
    """How long a block lasted that would never end, or that ends in time."""
    loop = asyncio.get_running_loop()
    began, limit = loop.time(), asyncio.timeout(None)
    try:
        async with limit:
            deadlines.guard(limit, began + seconds)
            await asyncio.wait_for(asyncio.Event().wait(), ends)
    except TimeoutError:
        return loop.time() - began, limit.expired()
    finally:
        deadlines.forget(limit)
    raise AssertionError("it ended")


async def test_each_block_ends_at_its_own_moment():
    deadlines = Deadlines(asyncio.get_running_loop())
    moments = [0.08, 0.02, 0.05, -1.0, 0.02, 0.11]
    found = await asyncio.gather(*(lasting(deadlines, moment, 5) for moment in moments))
    for moment, (lasted, expired) in zip(moments, found, strict=True):
        assert expired
        assert max(moment, 0) <= lasted < max(moment, 0) + 1


async def test_what_ends_before_its_moment_neither_times_out_nor_keeps_others_from_it():
    deadlines = Deadlines(asyncio.get_running_loop())
    early, late = await asyncio.gather(lasting(deadlines, 0.03, 0.01), lasting(deadlines, 0.06, 5))
    assert not early[1]
    assert late[1]
    assert late[0] >= 0.06


async def test_a_block_whose_deadline_is_forgotten_may_last():
    deadlines = Deadlines(asyncio.get_running_loop())
    async with asyncio.timeout(None) as limit:
        deadlines.guard(limit, asyncio.get_running_loop().time() + 0.01)
        assert deadlines.forget(limit)
        await Clock().passed(0.03)
    assert not deadlines.forget(limit)
    assert not limit.expired()
