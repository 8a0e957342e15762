"""A persistence module of the `eventsourcing` library: `PERSISTENCE_MODULE=eventstore.persistence`.

It takes the settings of the library's own PostgreSQL module, and `POSTGRES_SSLMODE`, `POSTGRES_SSLROOTCERT`,
`POSTGRES_SSLCERT` and `POSTGRES_SSLKEY`. Each application has its log in a schema of its own, which is named after it
(and after `POSTGRES_SCHEMA`, if that is set); `CREATE_TABLE=no` leaves making it to somebody with more rights.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from types import TracebackType
from typing import Any, TypeVar, cast
from weakref import finalize

from eventsourcing import persistence, postgres
from eventsourcing.utils import Environment, resolve_topic
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from eventstore import migrate
from eventstore.recorders import (
    AggregateRecorder,
    ApplicationRecorder,
    Log,
    ProcessRecorder,
    SnapshotRecorder,
    category,
    translated,
)
from eventstore.threads import ThreadedCommitter

GIVEN = ("dbname", "host", "port", "user", "password")
R = TypeVar("R", bound=AggregateRecorder)

TLS = {
    "POSTGRES_SSLMODE": "sslmode",
    "POSTGRES_SSLROOTCERT": "sslrootcert",
    "POSTGRES_SSLCERT": "sslcert",
    "POSTGRES_SSLKEY": "sslkey",
}


@dataclass(frozen=True)
class Address:
    """Where an application's log is. Some want a new password for each connection."""

    given: dict[str, Any]
    schema: str
    get_password: Callable[[], str] | None

    def conninfo(self) -> str:
        password = {"password": self.get_password()} if self.get_password else {}
        return make_conninfo(**(self.given | password), options=f"-c search_path={quoted(self.schema)}")


class Factory(postgres.PostgresFactory):
    """Makes recorders over the event store.

    Tracking recorders are the library's own, so that an application's, which extend them, work unchanged.
    """

    def __init__(self, env: Environment | dict[str, str] | None) -> None:
        super().__init__(env)
        known = cast("dict[str, Any]", self.datastore.pool.kwargs)
        known.update({name: value for key, name in TLS.items() if (value := self.env.get(key))})
        self._address = Address(
            {name: known[name] for name in (*GIVEN, *TLS.values()) if name in known},
            self._schema(),
            self.datastore.pool.get_password_func,
        )
        self._committer = ThreadedCommitter(self._address.conninfo)
        # An application that nobody closes is closed when nobody holds it any more; never by waiting in that thread.
        finalize(self, Thread(target=self._committer.close, daemon=True).start).atexit = False

    def aggregate_recorder(self, purpose: str = "events") -> persistence.AggregateRecorder:
        kinds = {"events": AggregateRecorder, "snapshots": SnapshotRecorder}
        if purpose not in kinds:
            raise persistence.NotSupportedError(f"there are no {purpose!r} here, only {' and '.join(kinds)}")
        return kinds[purpose](self._log())

    def application_recorder(self) -> persistence.ApplicationRecorder:
        return self._kind(self.APPLICATION_RECORDER_TOPIC, ApplicationRecorder)(self._log())

    def process_recorder(self) -> persistence.ProcessRecorder:
        return self._kind(self.PROCESS_RECORDER_TOPIC, ProcessRecorder)(self._log())

    def _kind(self, setting: str, usual: type[R]) -> type[R]:
        topic = self.env.get(setting)
        kind = resolve_topic(topic) if topic else usual
        if not issubclass(kind, usual):
            raise persistence.InfrastructureFactoryError(f"{setting}: {kind} is no {usual.__name__} of this module")
        return cast("type[R]", kind)

    def _log(self) -> Log:
        if self.env_create_table():
            self._create()
        return Log(self.datastore, self._committer, self._address.schema, category(self.env.name))

    def _schema(self) -> str:
        name = "_".join(filter(None, (self.env.get(self.POSTGRES_SCHEMA), self.env.name.lower()))) or "public"
        postgres.PostgresRecorder.check_identifier_length(name)
        return name

    def _create(self) -> None:
        with translated(), migrate.connect(self._address.conninfo(), seconds=0) as connection:
            connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(self._address.schema)))
            migrate.migrate(connection, None)

    def close(self) -> None:
        with suppress(AttributeError):
            self._committer.close()
        super().close()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        self._committer.close()
        super().__exit__(exc_type, exc_val, exc_tb)


def quoted(schema: str) -> str:
    """A schema's name within the `options` of a connection string."""
    return '"' + schema.replace('"', '""').replace("\\", "\\\\").replace(" ", "\\ ") + '"'
