"""How much waits for a worker of the faust lane."""

import asyncio
from types import SimpleNamespace

from projections.lanes.faust_consumer import Fetches


def records(*sizes):
    return [SimpleNamespace(value=None if size is None else bytes(size)) for size in sizes]


async def test_many_small_fetches_wait_within_and_bytes_bound_them():
    fetches = Fetches(1000)
    for _ in range(99):
        fetches.put_nowait(records(10, None))
    assert not fetches.full()
    fetches.put_nowait(records(10))
    assert fetches.full()


async def test_who_has_more_waits_until_enough_was_taken():
    fetches = Fetches(1000)
    fetches.put_nowait(records(10))
    fetches.put_nowait(records(5000))
    more = asyncio.create_task(fetches.put(records(10)))
    await asyncio.sleep(0)
    await fetches.get()
    await asyncio.sleep(0)
    assert not more.done()
    await fetches.get()
    await more
    assert len(await fetches.get()) == 1
    assert fetches.empty()
