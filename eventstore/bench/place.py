"""A database for measuring on the project's own PostgreSQL, and what must be known of that machine."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import psycopg

from eventstore import sql
from eventstore.migrate import connect, migrate
from infra.bench.servers import running
from infra.native import Native
from infra.plan import Database
from infra.postgres import conninfo
from infra.settings import Settings

PRINCIPAL = "bench"
DATABASE = Database("bench_events", PRINCIPAL, (PRINCIPAL,))
SHOWN = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "wal_sync_method",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "ssl",
)
TLS = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "ca_file", "PGSSLCERT": "cert_file", "PGSSLKEY": "key_file"}
PAGE_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Place:
    """An empty store, and its owner's settings."""

    settings: Settings
    conninfo: str
    folder: Path

    def environment(self, fsync_seconds: float) -> dict[str, Any]:
        """What the figures depend on."""
        with psycopg.connect(self.conninfo) as connection:
            rows = connection.execute(sql.statement("surroundings"), {"names": list(SHOWN)})
            told: dict[str, str] = dict(rows.fetchall())
        return {"cpus": os.cpu_count(), "fsync_ms": 1000 * fsync_seconds, "tls": told.pop("tls"), "postgres": told}

    def fsync_seconds(self, times: int = 200) -> float:
        """How long one page takes to reach the disk of the server's data: the median."""
        taken = []
        with tempfile.TemporaryFile(dir=self.folder) as file:
            for _ in range(times):
                os.pwrite(file.fileno(), os.urandom(PAGE_BYTES), 0)
                began = perf_counter()
                os.fdatasync(file.fileno())
                taken.append(perf_counter() - began)
        return median(taken)

    def library(self, name: str, module: str, threads: int) -> dict[str, str]:
        """The settings of an application of the `eventsourcing` library, its own defaults otherwise."""
        return {
            "PERSISTENCE_MODULE": module,
            "APPLICATION_NAME": name,
            "POSTGRES_DBNAME": DATABASE.name,
            "POSTGRES_HOST": str(self.settings.postgres_host),
            "POSTGRES_PORT": str(self.settings.postgres_port),
            "POSTGRES_USER": self.settings.principal,
            "POSTGRES_PASSWORD": self.settings.password,
            "POSTGRES_POOL_SIZE": str(threads),
        }


@contextmanager
def opened(system: Native) -> Iterator[Place]:
    """A place of its own. The server is started if it is down; afterwards everything is as it was."""
    with running(system, "postgres"):
        try:
            system.drop_database(DATABASE)
            system.create_database(DATABASE)
            settings = system.settings(PRINCIPAL)
            address = conninfo(settings, DATABASE.name)
            with connect(address, 30) as connection:
                migrate(connection, None)  # who owns the store writes to it, and makes room in it
            with tls_for_libpq(settings):
                yield Place(settings, address, (system.folder / "postgres").resolve())
        finally:
            system.drop_database(DATABASE)


@contextmanager
def tls_for_libpq(settings: Settings) -> Iterator[None]:
    """The library's module has no settings for TLS, but libpq has."""
    before = {name: os.environ.get(name) for name in TLS}
    os.environ.update({name: str(getattr(settings, value, value)) for name, value in TLS.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
