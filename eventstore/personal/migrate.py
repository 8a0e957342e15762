"""Makes the tables and the keyring of a store's data keys, and rotates the key that wraps them."""

import hashlib
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import Connection

from eventstore import sql
from eventstore.errors import KeyMissing
from eventstore.migrate import LOCK, Roles
from eventstore.migrate import run as grant
from eventstore.personal.keyring import Keyring

PAGE = 1000
PARTS = ("keys_schema", "keys_grant_writer", "grant_reader")


def migrate(connection: Connection[Any], roles: Roles, keyring: Path) -> None:
    """All or nothing, one at a time; running it again is harmless.

    Raises `KeyMissing` when the keyring lacks a key that wraps data keys: a new one would hide what is lost.
    """
    ring = Keyring(keyring)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        connection.execute(sql.statement("keys_schema"))
        grant(connection, "keys_grant_writer", roles.writer)
        for reader in roles.readers:
            grant(connection, "grant_reader", reader)
        wrapping, held = wrapping_keys(connection), ring.ids()
        if lost := wrapping - {*held}:
            raise KeyMissing(f"{keyring} lacks the key {min(lost)}, which wraps data keys: bring it back from a backup")
        if not wrapping:
            connection.execute(sql.statement("keys_add_wrapping"), {"id": held[-1] if held else ring.add()})


def rotate(connection: Connection[Any], keyring: Path) -> UUID:
    """Wraps every data key by a new key, and destroys the old ones; the new one's id.

    Whoever makes data keys meanwhile is either seen, or refused and tries again with the new key. Ended at any moment,
    every data key still opens, and the next rotation clears what is left over. The connection commits each statement.
    """
    ring = Keyring(keyring)
    connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
    ring.keep(wrapping_keys(connection))
    new = ring.add()
    connection.execute(sql.statement("keys_add_wrapping"), {"id": new})
    while rewrap(connection, ring, new) == PAGE:
        continue
    with connection.transaction():
        connection.execute(sql.statement("keys_lock"))
        while rewrap(connection, ring, new) == PAGE:
            continue
        connection.execute(sql.statement("keys_drop_wrapping"), {"id": new})
    ring.keep({new})
    return new


def rewrap(connection: Connection[Any], ring: Keyring, new: UUID) -> int:
    """Wraps a page of data keys anew; how many there were."""
    rows = connection.execute(sql.statement("keys_to_rewrap"), {"wrapped_by": new, "limit": PAGE}).fetchall()
    told = [
        {"id": id, "wrapped_by": new, "wrapped": ring.wrap(new, ring.unwrap(by, id, subject, wrapped), subject)}
        for id, subject, by, wrapped in rows
    ]
    with connection.transaction():
        connection.cursor().executemany(sql.statement("keys_rewrap"), told)
    return len(rows)


def wrapping_keys(connection: Connection[Any]) -> set[UUID]:
    return {id for (id,) in connection.execute(sql.statement("keys_wrapping"))}


def inputs() -> str:
    """What the tables and the rights are made from."""
    return hashlib.sha256("\n".join(map(sql.statement, PARTS)).encode()).hexdigest()
