"""A disk that is full refuses appends, loses none, and takes them again when there is room."""

import asyncio
from datetime import UTC, datetime
from random import Random
from uuid import uuid4

import pytest

from eventstore.errors import StoreUnavailable
from eventstore.migrate import Roles, connect, migrate
from eventstore.postgres import PostgresStore
from eventstore.records import Append, NewEvent, NoStream
from tests.disk import ROOM, full_disk
from tests.integration.eventstore.conftest import STORE, Place

BODY = b'"%s"' % Random(1).randbytes(600).hex().encode()  # too short to be compressed


@pytest.fixture
def place(floor):
    """An empty store on a server of its own, whose files can't grow."""
    with full_disk(floor) as system:
        system.create_database(STORE)
        found = Place(system, "public")
        with connect(found.owner, 30) as connection:
            migrate(connection, Roles("crash-write", ["crash-read"]))
        yield found


async def test_a_full_disk_refuses_appends_and_loses_none(place):
    acknowledged, refused = {}, {}

    async def append():
        event = NewEvent("crash.X.v1", BODY, datetime.now(UTC))
        try:
            acknowledged[event.id] = await store.append(Append(f"crash-{uuid4()}", [event], NoStream()))
        except StoreUnavailable as error:
            refused[event.id] = str(error)

    async with PostgresStore.open(place.writer) as store:
        while not refused:
            assert len(acknowledged) < 2 * ROOM / len(BODY), "the disk is never full"
            await asyncio.gather(*(append() for _ in range(200)))
        assert all("could not" in reason for reason in refused.values())
        assert await store.head() == len(acknowledged)
        assert len(await store.read_log(limit=10)) == 10

        place.floor.kill("postgres")
        place.revive("postgres")
        async with asyncio.timeout(15):
            while store.problem() is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        before = len(refused)
        await asyncio.gather(*(append() for _ in range(200)))
        assert len(refused) == before

        log, after = [], 0
        while page := await store.read_log(after=after):
            log += page
            after = page[-1].position
        assert [event.position for event in log] == list(range(1, len(log) + 1))
        assert {event.id: event.position for event in log} == {
            id: appended.position for id, appended in acknowledged.items()
        }
