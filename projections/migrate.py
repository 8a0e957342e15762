"""Makes the tables of a domain's read database, and grants the rights on them."""

import hashlib
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from domains.kernel import Domain
from infra.plan import OPERATOR
from projections import sql
from projections.postgres import PROJECTION
from projections.tables import tables

LOCK = 0x68656164_72656164
WRITE = SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}")
KEPT = ("positions", "freshness", "parked", "parked_events")
ADD = SQL("GRANT SELECT, INSERT ON skips TO {}")
READ = SQL("GRANT SELECT ON {} TO {}")


def migrate(connection: Connection[Any], domain: Domain) -> None:
    """All or nothing, one at a time; running it again is harmless. Raises `TableMismatch`."""
    reader = Identifier(f"{domain.name}-read")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        connection.execute(sql.text("schema"))
        connection.execute(sql.text("begin"), {"projection": PROJECTION, "partitions": domain.partitions})
        own = [table.name for table in tables(domain).values()]
        for table in tables(domain).values():
            table.create(connection)
        for name in (*own, *KEPT):
            connection.execute(WRITE.format(Identifier(name), reader))
        connection.execute(ADD.format(reader))
        for name in (*own, *KEPT, "skips"):
            connection.execute(READ.format(Identifier(name), Identifier(OPERATOR)))


def inputs(domain: Domain) -> str:
    """What the tables are made from."""
    made = [(table.name, table.columns, table.view.filters) for table in tables(domain).values()]
    return hashlib.sha256(repr((sql.text("schema"), domain.partitions, made)).encode()).hexdigest()
