"""Each port's twins, ready to be held to the same suite."""

from contextlib import asynccontextmanager

import pytest

from eventstore.memory import MemoryStore
from eventstore.postgres import PostgresStore


@pytest.fixture(params=["memory", "postgres"])
async def store(request):
    """An empty store of each kind."""
    conninfo = request.getfixturevalue("postgres") if request.param == "postgres" else None
    async with opened(conninfo) as store:
        yield store


@asynccontextmanager
async def opened(conninfo):
    if conninfo is None:
        yield MemoryStore()
    else:
        async with PostgresStore.open(conninfo) as store:
            yield store
