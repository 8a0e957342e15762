"""A database in which applications of the `eventsourcing` library, and stores under test, make their own schemas."""

import sys
from uuid import uuid4

import pytest
from eventsourcing import cryptography

from infra.plan import Database

# The library has the same cipher twice, over `pycryptodome` and over `cryptography`; its test cases name the former.
sys.modules.setdefault("eventsourcing.cipher", cryptography)

DATABASE = Database("library_events", "library", ("library",))


@pytest.fixture
def library(floor):
    """The settings of the library, as its own documentation has them, for an application of an unused name."""
    floor.create_database(DATABASE)
    settings = floor.settings("library")
    return {
        "PERSISTENCE_MODULE": "eventstore.persistence",
        "POSTGRES_DBNAME": DATABASE.name,
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
