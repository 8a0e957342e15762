"""Roles and databases on PostgreSQL, made from the plan. Running it again is harmless."""

from collections.abc import Iterable
from pathlib import Path

import psycopg
from psycopg import Connection, sql
from psycopg.sql import Identifier, Literal

from infra.plan import Database
from infra.postgres import conninfo
from infra.settings import Settings

MAINTENANCE = ("postgres", "template1")
CONNECTED, KNOWN_ROLE, KNOWN_DATABASE = (
    Path(__file__).with_name(f"{name}.sql").read_bytes() for name in ("connected", "known_role", "known_database")
)


def provision(superuser: Settings, roles: Iterable[Settings], databases: Iterable[Database]) -> None:
    """Roles, databases, and who may connect to which: those that the plan names, and nobody else."""
    with psycopg.connect(conninfo(superuser, MAINTENANCE[0]), autocommit=True) as connection:
        for name in MAINTENANCE:
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(Identifier(name)))
        for role in roles:
            provision_role(connection, role)
        for database in databases:
            provision_database(connection, database)
    for database in databases:
        with psycopg.connect(conninfo(superuser, database.name), autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(Identifier(database.owner)))


def missing(superuser: Settings, databases: Iterable[Database]) -> list[str]:
    """Databases that are not there: somebody has dropped them."""
    with psycopg.connect(conninfo(superuser, MAINTENANCE[0]), autocommit=True) as connection:
        return [each.name for each in databases if connection.execute(KNOWN_DATABASE, [each.name]).fetchone() is None]


def provision_role(connection: Connection, role: Settings) -> None:
    """The server gets a verifier, never the password."""
    known = connection.execute(KNOWN_ROLE, [role.principal]).fetchone()
    verifier = connection.pgconn.encrypt_password(role.password.encode(), role.principal.encode(), b"scram-sha-256")
    verb = sql.SQL("CREATE" if known is None else "ALTER")
    statement = sql.SQL("{} ROLE {} LOGIN NOSUPERUSER PASSWORD {}")
    connection.execute(statement.format(verb, Identifier(role.principal), Literal(verifier.decode())))


def provision_database(connection: Connection, database: Database) -> None:
    name, owner = Identifier(database.name), Identifier(database.owner)
    if connection.execute(KNOWN_DATABASE, [database.name]).fetchone() is None:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, owner))
    connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, owner))
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    for (role,) in connection.execute(CONNECTED, [database.name]).fetchall():
        if role not in (database.owner, *database.principals):
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(name, Identifier(role)))
    for principal in database.principals:
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, Identifier(principal)))


def drop(superuser: Settings, roles: Iterable[str], database: Database) -> None:
    """A database with all that is in it, whoever is connected, and roles that own nothing else."""
    with psycopg.connect(conninfo(superuser, MAINTENANCE[0]), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(database.name)))
        for role in roles:
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(Identifier(role)))
