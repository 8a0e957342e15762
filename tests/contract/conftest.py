"""Each port's twins, ready to be held to the same suite."""

from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from eventstore.memory import MemoryStore
from eventstore.migrate import Roles, connect, migrate
from eventstore.postgres import PostgresStore
from infra.plan import Database
from infra.postgres import conninfo

DATABASE = Database("contract_events", "contract-migrate", ("contract-write",))


@pytest.fixture
def postgres(floor):
    """The connection string of an empty store's writer: a schema of its own in a real database."""
    floor.create_database(DATABASE)
    schema = f"store_{uuid4().hex}"
    place = {"options": f"-c search_path={schema}"}
    owner = make_conninfo(conninfo(floor.settings("contract-migrate"), DATABASE.name), **place)
    with connect(owner, 30) as connection:
        connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(schema)))
        migrate(connection, Roles("contract-write"))
    return make_conninfo(conninfo(floor.settings("contract-write"), DATABASE.name), **place)


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
