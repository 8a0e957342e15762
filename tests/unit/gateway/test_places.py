"""Places at an instance: as many as there are, whoever gives up waiting for one."""

import asyncio
import ssl
from math import inf

import pytest

from gateway.instance import Instance, Limits


async def test_who_gave_up_when_a_place_became_free_never_had_one():
    instance = Instance(("127.0.0.1", 1), "nobody", ssl.create_default_context(), Limits(connections=1))
    await instance._entered(inf, endless=False)
    waiting = asyncio.create_task(instance._entered(asyncio.get_running_loop().time() + 60, endless=False))
    await asyncio.sleep(0)
    waiting.cancel()
    instance._free(endless=False)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (instance.load, instance._running) == (0, 0)
