"""A read database that hangs instead of dying, as a stopped server does: its kernel takes all, and nobody answers."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from domains.orders import domain
from infra.logs import Lines
from projections import postgres
from projections.errors import ReadUnavailable
from projections.postgres import PostgresDatabase
from projections.rows import Want, to_publish
from projections.worker import Worker
from tests.integration.projections.door import Door
from tests.unit.projections.test_projector import placed

SILENCE_SECONDS = 0.3
DETAILS = domain.views[0]


class Topics:
    """A publisher that remembers how many rows it was given."""

    def __init__(self):
        self.rows_published = 0

    async def rows(self, *changed):
        self.rows_published += sum(len(rows) for _, rows in changed)


@pytest.fixture
async def door(read_database):
    place = conninfo_to_dict(read_database[1])
    async with Door(f"{place['host']}:{place['port']}", opened=True) as door:
        yield door


@pytest.fixture
async def database(read_database, door):
    """Reached by the door; its connection is open."""
    place = make_conninfo(read_database[1], port=door.address.partition(":")[2], connect_timeout=2)
    database = PostgresDatabase(place, domain, SILENCE_SECONDS)
    await database.positions()
    yield database
    await database.close()


@asynccontextmanager
async def in_transaction(database):
    async with database.transaction() as transaction:
        await transaction.positions()
        yield transaction


async def loaded(database, door):
    async with in_transaction(database) as transaction:
        door.passing.clear()
        await transaction.load(DETAILS, ["1"])


async def taken(database, door):
    async with in_transaction(database) as transaction:
        door.passing.clear()
        await transaction.take([Want(DETAILS, ["1"], ["orders-1"])])


async def committed(database, door):
    async with in_transaction(database) as transaction:
        await transaction.touch()
        door.passing.clear()


async def begun(database, door):
    door.passing.clear()
    async with in_transaction(database):
        pass


async def noted_as_fresh(database, door):
    door.passing.clear()
    await database.fresh([0])


async def asked_for_positions(database, door):
    door.passing.clear()
    await database.positions()


@pytest.mark.parametrize(
    "wait", [begun, loaded, taken, committed, noted_as_fresh, asked_for_positions], ids=lambda wait: wait.__name__
)
async def test_no_wait_for_a_server_that_hangs_lasts(database, door, wait):
    async with asyncio.timeout(5):
        with pytest.raises(ReadUnavailable):
            await wait(database, door)


async def test_a_hanging_server_is_an_outage_for_the_worker_which_goes_on_when_it_ends(database, door):
    topics = Topics()
    worker = Worker(domain, database, topics, Lines("test"), lambda: None)
    good = [placed(number, str(number)) for number in (1, 2)]
    door.passing.clear()
    folding = asyncio.create_task(worker._folding.until_done(lambda: worker._fold(good)))
    async with asyncio.timeout(15):
        await door.knocked_at(2)  # a new connection is tried, and hangs, too
        told = worker.problem()
        door.passing.set()
        applied = await folding
    assert (told is not None, worker.problem(), worker.stuck()) == (True, None, None)
    assert [event.position for event in applied.fresh] == [1, 2]
    assert to_publish(applied.changed[DETAILS.name], ["1", "2"]).keys() == {"1", "2"}


async def test_who_is_paused_between_two_statements_of_a_batch_holds_nobody_up_for_ever(read_database, monkeypatch):
    monkeypatch.setattr(postgres, "PAUSED", postgres.PAUSED.replace("=30s", "=2s"))
    paused, other = (PostgresDatabase(read_database[1], domain) for _ in range(2))

    async def stands_still():
        async with paused.transaction() as transaction, transaction.together():
            await transaction.lock(DETAILS)
            while not await gets_through():
                continue

    async def gets_through():
        with suppress(ReadUnavailable):
            async with other.transaction() as transaction:
                await transaction.lock(DETAILS)
                return True

    async with asyncio.timeout(40):
        with pytest.raises(ReadUnavailable):
            await stands_still()
        assert await gets_through()
    for database in (paused, other):
        await database.close()
