"""Who reads the commands topic goes on, whatever reading it raises."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiokafka.errors import KafkaConnectionError

from domains import intake
from domains.intake import Intake
from domains.orders import domain


class Consumer:
    """Raises what it is given, then has nothing."""

    def __init__(self, error):
        self._error = error

    async def getmany(self, **_):
        if self._error is not None:
            raise self._error
        await asyncio.Event().wait()


@pytest.mark.parametrize("error", [KafkaConnectionError(), OSError(), TypeError("nobody foresaw it")])
async def test_reading_begins_anew_after_any_error(monkeypatch, error):
    errors, begun_again = [error, None], asyncio.Event()

    @asynccontextmanager
    async def reading(_):
        if len(errors) == 1:
            begun_again.set()
        yield Consumer(errors.pop(0))

    monkeypatch.setattr(intake, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(Intake, "_reading", reading)
    running = asyncio.create_task(Intake(None, domain, None, None).run())
    async with asyncio.timeout(10):
        await begun_again.wait()
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
