"""Who asks faust's consumer, whose thread may end meanwhile, is told so, and goes on."""

import asyncio
from types import SimpleNamespace

import pytest

from domains.orders import domain
from projections.errors import ReadUnavailable
from projections.lanes.faust_lane import FaustLane


@pytest.fixture
async def answer():
    return asyncio.get_running_loop().create_future()


@pytest.fixture
async def asking(answer):
    """A question that waits for its answer."""
    lane = object.__new__(FaustLane)  # one that knows no broker
    lane._domain, lane._began, lane._beginning = domain, True, asyncio.timeout(None)
    lane._app = SimpleNamespace(consumer=SimpleNamespace(check=lambda _: answer))
    asking = asyncio.create_task(lane._asked(lambda _: answer))
    await asyncio.sleep(0)
    return asking


async def test_what_the_thread_cancels_ends_nobody_else(asking, answer):
    answer.cancel()
    with pytest.raises(ReadUnavailable, match="faust has ended"):
        await asking


async def test_who_is_cancelled_while_he_asks_ends(asking):
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
