"""Makes the tables of a domain's read database, and grants the rights on them."""

import hashlib
from collections.abc import Mapping
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from domains.kernel import Domain
from infra.plan import CONSOLE, OPERATOR
from projections import sql
from projections.code import fingerprint
from projections.postgres import PROJECTION
from projections.rows import AnyView
from projections.tables import Table, signature, tables

LOCK = 0x68656164_72656164
WRITE = SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}")
READ = SQL("GRANT SELECT ON {} TO {}")
KEPT = {
    "positions": WRITE,
    "touches": WRITE,
    "freshness": WRITE,
    "parked": WRITE,
    "parked_events": WRITE,
    "drift": WRITE,
    "skips": SQL("GRANT SELECT, INSERT ON {} TO {}"),
    "untold_skips": WRITE,
    "republish": SQL("GRANT SELECT, UPDATE, DELETE ON {} TO {}"),
    "rebuilds": READ,
    "rebuilding": READ,
}


def migrate(connection: Connection[Any], domain: Domain, *, recorded: bool = False) -> list[AnyView]:
    """All or nothing, one at a time; running it again is harmless. Raises `TableMismatch`.

    `recorded` says that the store has events: a read database that has folded none then counts for nothing yet, so
    that it neither answers nor folds what comes before it was built.

    Returns the views of which the positions do not count for the declared version, so that it must be built from the
    store. Their tables are not made; until all are built, the versions before them are served.
    """
    reader = Identifier(f"{domain.name}-read")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        connection.execute(sql.text("schema"))
        connection.execute(sql.text("begin"), {"projection": PROJECTION, "partitions": domain.partitions})
        declared = tables(domain)
        counted = counted_for(connection, declared, recorded=recorded)
        for table in declared.values():
            if table.name in counted:
                table.create(connection)
                grant(connection, table.name, WRITE, reader)
        for name, right in KEPT.items():
            grant(connection, name, right, reader)
        if missing := [table.view for table in declared.values() if table.name not in counted]:
            return missing
        views = signature(table.name for table in declared.values())
        connection.execute(sql.text("count_for"), {"projection": PROJECTION, "views": views})
    return []


def counted_for(connection: Connection[Any], declared: Mapping[str, Table], *, recorded: bool) -> set[str]:
    """The tables for which the positions count; before the first event of all, whatever is declared."""
    found = connection.execute(sql.text("counted"), {"projection": PROJECTION}).fetchone()
    rows = connection.execute(sql.text("positions"), {"projection": PROJECTION}).fetchall()
    if not any(position for _, position, *_ in rows):
        return set() if recorded else {table.name for table in declared.values()}
    if found is None or found[0] is None:
        return {name for (name,) in connection.execute(sql.text("known_tables"))}
    return set(found[0].split())


def grant(connection: Connection[Any], name: str, right: SQL, reader: Identifier) -> None:
    connection.execute(right.format(Identifier(name), reader))
    for person in (OPERATOR, CONSOLE):
        connection.execute(READ.format(Identifier(name), Identifier(person)))


def inputs(domain: Domain) -> str:
    """What the tables are made from, and their rows."""
    made = [
        (table.name, table.columns, table.shapes, table.view.filters, fingerprint(domain, table.view))
        for table in tables(domain).values()
    ]
    return hashlib.sha256(repr((sql.text("schema"), domain.partitions, made)).encode()).hexdigest()
