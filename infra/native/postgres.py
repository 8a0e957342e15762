"""PostgreSQL of the native provider: TLS 1.3 only, our certificates and SCRAM only, on loopback only."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import psycopg
from psycopg import sql

from infra.errors import MissingTool, StartFailed
from infra.pki import write
from infra.plan import Database
from infra.postgres import conninfo
from infra.settings import Settings

SUPERUSER = "postgres"
UNPRIVILEGED = "nobody"
ACCESS = "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n"


class PostgresServer:
    """One server with its data in a folder."""

    def __init__(self, binaries: Path, data: Path, credentials: Path, port: int) -> None:
        self._binaries, self._data, self._credentials, self._port = binaries, data, credentials, port

    def prepare(self) -> None:
        """Makes the data folder when there is none, and writes today's configuration."""
        reachable(self._data.parent)
        if not (self._data / "PG_VERSION").exists() or (self._data / "unfinished").exists():
            self._initialise()
        for name in ("cert.pem", "key.pem", "ca.pem"):
            self._own(name, (self._credentials / name).read_bytes())
        self._own("headrace.conf", self._configuration().encode())
        self._own("pg_hba.conf", ACCESS.encode())

    def command(self) -> list[str]:
        return [str(self._binaries / "bin" / "postgres"), "-D", str(self._data)]

    def user(self) -> str | None:
        """The user to run as: the server refuses to run as root."""
        return UNPRIVILEGED if os.geteuid() == 0 else None

    def _initialise(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(parents=True, mode=0o700)
        secret = self._data.parent / ".superuser"
        write(secret, (self._credentials / "password").read_bytes())
        self._give(self._data)
        self._give(secret)
        call: list[str | Path] = [
            self._binaries / "bin" / "initdb",
            "-D",
            self._data,
            "-U",
            SUPERUSER,
            "--pwfile",
            secret,
        ]
        call += ["-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-instructions"]
        done = subprocess.run(  # noqa: S603
            call, user=self.user(), capture_output=True, text=True, timeout=120, check=False, cwd=self._data.parent
        )
        secret.unlink()
        if done.returncode != 0:
            shutil.rmtree(self._data, ignore_errors=True)
            raise StartFailed(f"initdb failed: {done.stderr[-1000:]}")
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write("\ninclude 'headrace.conf'\n")

    def _configuration(self) -> str:
        return f"""listen_addresses = '127.0.0.1'
port = {self._port}
unix_socket_directories = ''
ssl = on
ssl_cert_file = 'cert.pem'
ssl_key_file = 'key.pem'
ssl_ca_file = 'ca.pem'
ssl_min_protocol_version = 'TLSv1.3'
max_connections = 80
shared_buffers = '128MB'
timezone = 'UTC'
log_timezone = 'UTC'
"""

    def _own(self, name: str, content: bytes) -> None:
        write(self._data / name, content)
        self._give(self._data / name)

    def _give(self, path: Path) -> None:
        if (user := self.user()) is not None:
            account = pwd.getpwnam(user)
            os.chown(path, account.pw_uid, account.pw_gid)


def reachable(folder: Path) -> None:
    """As root the server runs as another user, who must be able to get to its data. Raises `MissingTool`."""
    if os.geteuid() != 0:
        return
    for part in (folder, *folder.parents):
        if part.exists() and not part.stat().st_mode & 0o001:
            raise MissingTool(
                f"PostgreSQL can't run as root, and the user {UNPRIVILEGED!r} can't enter {part}",
                f"chmod o+x {part}, or work in another folder, or as an ordinary user",
            )


def provision(superuser: Settings, roles: Iterable[Settings], databases: Iterable[Database]) -> None:
    """Roles, databases, and who may connect to which. Running it again is harmless."""
    with psycopg.connect(conninfo(superuser, SUPERUSER), autocommit=True) as connection:
        for role in roles:
            provision_role(connection, role)
        for database in databases:
            provision_database(connection, database)
        connection.execute("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
    for database in databases:
        with psycopg.connect(conninfo(superuser, database.name), autocommit=True) as connection:
            connection.execute(
                sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(database.owner)),
            )


def provision_role(connection: psycopg.Connection, role: Settings) -> None:
    known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role.principal]).fetchone()
    verb = sql.SQL("CREATE" if known is None else "ALTER")
    statement = sql.SQL("{} ROLE {} LOGIN NOSUPERUSER PASSWORD {}")
    connection.execute(statement.format(verb, sql.Identifier(role.principal), sql.Literal(role.password)))


def provision_database(connection: psycopg.Connection, database: Database) -> None:
    name, owner = sql.Identifier(database.name), sql.Identifier(database.owner)
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", [database.name]).fetchone() is None:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, owner))
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    for principal in database.principals:
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, sql.Identifier(principal)))
