"""What runs beside a server is heard of when it fails."""

import asyncio

import pytest

from infra.beside import beside
from infra.health import Health


async def failing():
    raise LookupError("a secret")


async def ending():
    pass


async def begun(health, **work):
    async with beside(health, work):
        await asyncio.sleep(0.01)
        return health.reasons(), health.deadly()


async def test_a_process_is_neither_ready_nor_alive_once_something_beside_it_has_failed(caplog):
    health = Health()
    reasons, deadly = await begun(health, lane=failing(), keys=ending())
    assert reasons == deadly == {"lane": "it ended: LookupError"}
    assert "lane ended by an unforeseen error" in caplog.text


async def stopped():
    raise asyncio.CancelledError


async def test_what_somebody_else_has_cancelled_has_failed_too(caplog):
    reasons, deadly = await begun(Health(), lane=stopped())
    assert reasons == deadly == {"lane": "it ended: CancelledError"}
    assert "lane ended by an unforeseen error" in caplog.text


async def test_what_ends_by_itself_or_is_still_at_work_is_no_failure():
    health = Health()
    assert await begun(health, keys=ending(), lane=asyncio.Event().wait()) == ({}, {})
    assert (health.reasons(), health.deadly()) == ({}, {})


async def test_what_runs_beside_ends_with_the_block():
    ended = asyncio.Event()

    async def lane():
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def interrupted():
        async with beside(Health(), {"lane": lane()}):
            await asyncio.sleep(0)
            raise KeyError

    with pytest.raises(KeyError):
        await interrupted()
    assert ended.is_set()
