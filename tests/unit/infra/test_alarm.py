"""An alarm rings at the moment it was last set to, and not before."""

import asyncio

import pytest
import uvloop

from infra.alarm import Alarm


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


def test_what_is_due_at_once_can_be_put_off():
    async def put_off():
        clock = Clock()
        for late in (0.0, 0.0001, -1.0, 0.03):
            clock.alarm.set(clock.loop.time() + late)
        clock.alarm.set(clock.loop.time() + 0.03)
        async with asyncio.timeout(2):
            await clock.heard.wait()
        return clock.rang

    # uvloop has another kind of handle for what is due within half a millisecond.
    assert len(uvloop.run(put_off())) == 1
