"""Makes the tables of a domain's read database, and grants the rights on them."""

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
READ = SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}")


def migrate(connection: Connection[Any], domain: Domain) -> None:
    """All or nothing, one at a time; running it again is harmless. Raises `TableMismatch`."""
    reader = Identifier(f"{domain.name}-read")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        connection.execute(sql.text("schema"))
        connection.execute(sql.text("begin"), {"projection": PROJECTION, "partitions": domain.partitions})
        for table in tables(domain).values():
            table.create(connection)
            connection.execute(WRITE.format(Identifier(table.name), reader))
        for name in ("positions", "freshness"):
            connection.execute(WRITE.format(Identifier(name), reader))
        for role in (reader, Identifier(OPERATOR)):
            connection.execute(READ.format(role))
