"""The real servers, once per run: PostgreSQL and Kafka with TLS, in a folder of their own."""

import os
import shutil
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from domains.orders import domain as orders
from eventstore.migrate import Roles, connect, migrate
from infra.native import Native
from infra.native.supervisor import Supervisor
from infra.plan import Database, Plan
from infra.postgres import conninfo
from projections.migrate import migrate as migrate_views
from tests.containers import ContainerSupervisor, engine_answers

PROJECT = Path(__file__).parents[1]
DATABASE = Database("contract_events", "contract-migrate", ("contract-write",))
READ = Database("contract_read", "orders-migrate", ("orders-read", "operator", "console"))


def pytest_addoption(parser):
    parser.addoption("--issuer", choices=("development", "keycloak"), default="development", help="who gives tokens")


@pytest.fixture(scope="session")
def floor():
    """PostgreSQL and Kafka, empty: in containers where a Docker engine answers, else on this machine.

    The fetched servers are shared with the project's own.
    """
    folder = PROJECT / ".headrace" / "tests" / str(os.getpid())
    supervisor = ContainerSupervisor if engine_answers() else Supervisor
    native = Native(folder, Plan(), PROJECT / ".headrace" / "cache", supervisor)
    try:
        native.up(only={"postgres", "kafka"})
        yield native
    finally:
        # Its data goes anyway, so nothing is lost with an orderly end.
        for name in filter(native.state.running, native.state.known()):
            native.kill(name)
        native.down()
        for used in folder.parent.glob(f"{folder.name}*"):
            shutil.rmtree(used)


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


@pytest.fixture
def read_database(floor):
    return empty_read_database(floor)


def empty_read_database(floor):
    """An empty read database's owner and reader: a schema of its own in a real database."""
    floor.create_database(READ)
    place = {"options": f"-c search_path={(schema := f'read_{uuid4().hex}')}"}
    owner = make_conninfo(conninfo(floor.settings("orders-migrate"), READ.name), **place)
    with connect(owner, 30) as connection:
        connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(schema)))
        for role in ("orders-read", "operator", "console"):
            connection.execute(SQL("GRANT USAGE ON SCHEMA {} TO {}").format(Identifier(schema), Identifier(role)))
        migrate_views(connection, orders)
        migrate_views(connection, orders)
    return owner, make_conninfo(conninfo(floor.settings("orders-read"), READ.name), **place)
