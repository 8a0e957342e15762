"""Databases and topics for stores, relays, and applications of the `eventsourcing` library under test."""

import os
import sys
from dataclasses import dataclass
from uuid import uuid4

import pytest
from eventsourcing import cryptography
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from domains.plan import FOREVER, TIME_OF_ARRIVAL
from eventstore.kafka import KafkaTopic
from eventstore.migrate import Roles, connect, migrate
from infra.plan import Acl, Database, Topic
from infra.postgres import conninfo
from infra.settings import Settings

# The library has the same cipher twice, over `pycryptodome` and over `cryptography`; its test cases name the former.
sys.modules.setdefault("eventsourcing.cipher", cryptography)

LIBRARY = Database("library_events", "library", ("library",))
STORE = Database("crash_events", "crash-migrate", ("crash-write", "crash-read", "crash-follow"))
PARTITIONS = 4


@pytest.fixture
def library(floor):
    """The settings of the library, as its own documentation has them, for an application of an unused name."""
    floor.create_database(LIBRARY)
    settings = floor.settings("library")
    return {
        "PERSISTENCE_MODULE": "eventstore.persistence",
        "POSTGRES_DBNAME": LIBRARY.name,
        "POSTGRES_HOST": settings.postgres_host,
        "POSTGRES_PORT": str(settings.postgres_port),
        "POSTGRES_USER": settings.principal,
        "POSTGRES_PASSWORD": settings.password,
        "POSTGRES_SCHEMA": f"test_{uuid4().hex[:12]}",
        "POSTGRES_SSLMODE": "verify-full",
        "POSTGRES_SSLROOTCERT": str(settings.ca_file),
        "POSTGRES_SSLCERT": str(settings.cert_file),
        "POSTGRES_SSLKEY": str(settings.key_file),
    }


@dataclass(frozen=True)
class Place:
    """An empty store's database, and who may do what there."""

    floor: object
    schema: str

    def conninfo(self, principal: str, more: str = "") -> str:
        given = conninfo(self.floor.settings(principal), STORE.name)
        return make_conninfo(given, options=f"-c search_path={self.schema} {more}")

    @property
    def owner(self) -> str:
        return self.conninfo("crash-migrate")

    @property
    def writer(self) -> str:
        return self.conninfo("crash-write")

    @property
    def reader(self) -> str:
        return self.conninfo("crash-read")

    def revive(self, *servers: str) -> None:
        self.floor.up(only=set(servers))


@pytest.fixture
def bare(floor):
    """A schema without any table."""
    floor.create_database(STORE)
    place = Place(floor, f"store_{uuid4().hex}")
    with connect(place.owner, 30) as connection:
        connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(place.schema)))
    return place


@pytest.fixture
def place(bare):
    """An empty store."""
    with connect(bare.owner, 30) as connection:
        migrate(connection, Roles("crash-write", ["crash-read"], ["crash-follow"]))
    yield bare
    bare.revive("postgres", "kafka")


@pytest.fixture
async def topic(floor):
    """An empty topic on Kafka, and how it is reached."""
    name = f"crash.events-{uuid4().hex}.v1"
    floor.create_topic(Topic(name, PARTITIONS, {**FOREVER, **TIME_OF_ARRIVAL}))
    floor.allow(Acl("crash-write", "topic", name, ("READ", "WRITE", "DESCRIBE")))
    async with KafkaTopic.open(floor.settings("crash-write"), name, PARTITIONS) as topic:
        yield topic


@pytest.fixture
def environment(floor):
    """What a process of our own is told, to act as the writer."""
    settings: Settings = floor.settings("crash-write")
    told = {
        name: str(value)
        for name, value in settings.model_dump(exclude_defaults=True).items()
        if name not in {"services", "environment"}
    }
    return {"PATH": os.environ["PATH"], **{f"HEADRACE_{name.upper()}": value for name, value in told.items()}}
