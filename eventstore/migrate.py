"""Brings a store's schema to what this code needs: numbered steps, forward only, and the rights of each role."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from eventstore import sql
from eventstore.errors import SchemaMismatch, StoreUnavailable
from eventstore.link import parameters, sentence

LOCK = 0x68656164_72616365  # one migration at a time in a database
PRIVILEGES = sql.statement("privileges")

READER = frozenset({"SELECT"})
WRITER = {
    "events": READER | {"INSERT"},
    "idempotency": READER | {"INSERT", "DELETE"},
    "streams": READER | {"INSERT", "UPDATE"},
    "tracking": READER | {"INSERT", "UPDATE"},
    "head": READER | {"UPDATE"},
    "snapshots": READER | {"INSERT", "UPDATE", "DELETE"},
    "seals": READER | {"INSERT"},
    "seal_nodes": READER | {"INSERT"},
    "operations": READER | {"INSERT", "UPDATE", "DELETE"},
    "ranges": READER,
    "detached": READER,
    "migrations": READER,
}
FOLLOWED = ("events", "head", "ranges", "detached")


@dataclass(frozen=True, slots=True)
class Roles:
    """Who writes to a store, who may read it, and who may read its events only."""

    writer: str
    readers: Sequence[str] = ()
    followers: Sequence[str] = ()


def connect(conninfo: str, seconds: float) -> Connection[Any]:
    """A connection, as soon as the database answers. Raises `StoreUnavailable` after `seconds`."""
    deadline = monotonic() + seconds
    while True:
        try:
            return Connection.connect(**parameters(conninfo))
        except psycopg.OperationalError as error:
            if monotonic() > deadline:
                raise StoreUnavailable(sentence(error)) from error
        sleep(0.2)


def migrate(connection: Connection[Any], roles: Roles | None) -> list[str]:
    """Apply what is missing and grant the rights, all or nothing; the names of the applied steps."""
    with connection.transaction():
        connection.execute("SET LOCAL statement_timeout = 0")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        connection.execute(sql.statement("migrations"))
        applied = [name for number, name, text in pending(connection) if apply(connection, number, name, text)]
        if roles is not None:
            grant(connection, roles)
    return applied


def pending(connection: Connection[Any]) -> Iterator[sql.Migration]:
    """The steps that have not been applied. Raises `SchemaMismatch` when an applied one has changed."""
    done = {number: bytes(value) for number, value in connection.execute(sql.statement("applied"))}
    known = sql.migrations()
    if max(done, default=0) > len(known):
        raise SchemaMismatch(f"the database is at migration {max(done)}, this code knows {len(known)}: it is too old")
    for number, name, text in known:
        if number not in done:
            yield number, name, text
        elif done[number] != digest(text):
            raise SchemaMismatch(f"migration {name} was changed after it had been applied")


def apply(connection: Connection[Any], number: int, name: str, text: sql.Text) -> bool:
    connection.execute(text)
    connection.execute(sql.statement("applied_now"), {"number": number, "name": name, "digest": digest(text)})
    return True


def grant(connection: Connection[Any], roles: Roles) -> None:
    run(connection, "grant_writer", roles.writer)
    for reader in roles.readers:
        run(connection, "grant_reader", reader)
    for follower in roles.followers:
        run(connection, "grant_follower", follower)


def run(connection: Connection[Any], name: str, role: str) -> None:
    connection.execute(SQL(sql.statement(name)).format(role=Identifier(role), schema=Identifier(schema(connection))))


def missing(connection: Connection[Any], roles: Roles) -> list[str]:
    """What `migrate` would do, a sentence each."""
    [[found]] = connection.execute("SELECT to_regclass('migrations') IS NOT NULL").fetchall()
    if not found:
        return [f"migration {name} is not applied" for _, name, _ in sql.migrations()]
    steps = [f"migration {name} is not applied" for _, name, _ in pending(connection)]
    return steps or [*wrong_rights(connection, roles)]


def wrong_rights(connection: Connection[Any], roles: Roles) -> Iterator[str]:
    """Rights that a role lacks, or has and must not have."""
    expected = {roles.writer: {f"{table} {right}" for table, rights in WRITER.items() for right in rights}}
    expected |= {reader: {f"{table} {right}" for table in WRITER for right in READER} for reader in roles.readers}
    expected |= {follower: {f"{table} SELECT" for table in FOLLOWED} for follower in roles.followers}
    for role, rights in expected.items():
        rows = connection.execute(PRIVILEGES, {"role": role})
        actual = {row[0] for row in rows}
        yield from (f"{role} lacks {right}" for right in sorted(rights - actual))
        yield from (f"{role} must not have {right}" for right in sorted(actual - rights))


def schema(connection: Connection[Any]) -> str:
    [[name]] = connection.execute("SELECT current_schema()").fetchall()
    return str(name)


def inputs() -> str:
    """What the schema and the rights are made from."""
    grants = [sql.statement(f"grant_{kind}") for kind in ("writer", "reader", "follower")]
    return digest("\n".join([*(text for _, _, text in sql.migrations()), *grants])).hex()


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
