"""The recorders of the `eventsourcing` library over the tables of the store, and over its group committer."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from threading import Thread
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

from eventsourcing import persistence, postgres
from eventsourcing.persistence import Notification, StoredEvent
from eventsourcing.utils import retry
from psycopg.sql import SQL, Composed, Identifier

from eventstore import errors, sql
from eventstore.batch import Command, Part, Tracked
from eventstore.limits import VERSIONS, check_events, check_stream
from eventstore.records import Appended, Exactly, NewEvent, NoStream
from eventstore.threads import ThreadedCommitter

SELECT_EVENTS = sql.statement("select_events")
SELECT_NOTIFICATIONS = sql.statement("select_notifications")
INSERT_SNAPSHOT = sql.statement("insert_snapshot")

P = ParamSpec("P")
T = TypeVar("T")


def again(call: Callable[P, T]) -> Callable[P, T]:
    """Tries again for two seconds while the database can't be reached, as the library does."""
    errors = (persistence.InterfaceError, persistence.OperationalError)
    return cast("Callable[P, T]", retry(errors, max_attempts=10, wait=0.2)(call))


@contextmanager
def translated() -> Iterator[None]:
    """Our errors as the library's."""
    try:
        yield
    except (errors.WrongExpectedVersion, errors.TrackedBefore) as error:
        raise persistence.IntegrityError(str(error)) from error
    except errors.InvalidEvent as error:
        raise persistence.DataError(str(error)) from error
    except (errors.StoreUnavailable, errors.StoreBusy) as error:
        raise persistence.OperationalError(str(error)) from error
    except errors.OutcomeUnknown as error:
        raise persistence.DatabaseError(str(error)) from error


@dataclass(frozen=True)
class Log:
    """One application's log: the tables in a schema of their own, and how its streams are named."""

    datastore: postgres.PostgresDatastore
    committer: ThreadedCommitter
    schema: str
    category: str

    def stream(self, originator_id: UUID | str) -> str:
        return f"{self.category}-{originator_id}"

    def originator_id(self, stream: str) -> UUID | str:
        name = stream.removeprefix(f"{self.category}-")
        return UUID(name) if self.datastore.originator_id_type == "uuid" else name

    def table(self, name: str) -> Identifier:
        return Identifier(self.schema, name)

    @again
    def fetch(self, query: Composed, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        with self.datastore.get_connection() as connection, connection.cursor(binary=True) as cursor:
            return cursor.execute(query, parameters, prepare=True).fetchall()

    @again
    def append(self, command: Command) -> Appended:
        with translated():
            return self.committer.append(command)


class AggregateRecorder(persistence.AggregateRecorder):
    """Records and reads the events of aggregates. Their versions count on without a gap, from 0 or from 1."""

    table = "events"

    def __init__(self, log: Log) -> None:
        self.log = log

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        self._record(stored_events, **kwargs)
        return None

    def _record(
        self, stored_events: Sequence[StoredEvent], tracking: persistence.Tracking | None = None, **_: Any
    ) -> Appended | None:
        tracked = Tracked(tracking.application_name, tracking.notification_id) if tracking else None
        command = Command(tracked=tracked)
        if stored_events:
            command = Command(tuple(self._parts(stored_events)), tracked=tracked)
        elif tracked is None:
            return None
        return self.log.append(command)

    def _parts(self, stored_events: Sequence[StoredEvent]) -> Iterator[Part]:
        """Runs of events of one stream, in the order in which they were handed in."""
        runs = [
            (stream, list(run)) for stream, run in groupby(stored_events, lambda e: self.log.stream(e.originator_id))
        ]
        begins: dict[str, int] = {}
        reached: dict[str, int] = {}
        for number, (stream, run) in enumerate(runs):
            begin = begins.setdefault(stream, run[0].originator_version)
            follow_on(stream, reached.get(stream, begin), run)
            reached[stream] = run[-1].originator_version + 1
            standing = max(0, begin - 1)
            yield Part(
                stream=stream,
                expected=Exactly(standing) if begin else NoStream(),
                events=checked(stream, [new(event) for event in run]),
                first=run[0].originator_version - standing,
                final=all(later != stream for later, _ in runs[number + 1 :]),
            )

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        order = SQL("DESC") if desc else SQL("ASC")
        query = SQL(SELECT_EVENTS).format(table=self.log.table(self.table), order=order)
        parameters = {
            "stream": self.log.stream(originator_id),
            "after": -1 if gt is None else gt,
            "until": VERSIONS if lte is None else lte,
            "limit": limit,
        }
        return [StoredEvent(**self._fields(row)) for row in self.log.fetch(query, parameters)]

    def _fields(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            "originator_id": self.log.originator_id(row["stream"]),
            "originator_version": row["version"],
            "topic": row["type"],
            "state": row["data"],
        }


def follow_on(stream: str, version: int, run: Sequence[StoredEvent]) -> None:
    """Versions of one append must count on."""
    for expected, event in enumerate(run, version):
        if event.originator_version != expected:
            raise persistence.IntegrityError(
                f"{stream!r} is handed version {event.originator_version} where {expected} must follow"
            )


def new(event: StoredEvent) -> NewEvent:
    return NewEvent(event.topic, event.state, datetime.now(UTC))


def checked(stream: str, events: Sequence[NewEvent]) -> Sequence[NewEvent]:
    with translated():
        check_stream(stream)
        check_events(events)
    return events


class SnapshotRecorder(AggregateRecorder):
    """Keeps snapshots, outside the log."""

    table = "snapshots"

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> None:
        rows = [(self.log.stream(e.originator_id), e.originator_version, e.topic, e.state) for e in stored_events]
        query = SQL(INSERT_SNAPSHOT).format(snapshots=self.log.table(self.table))
        with self.log.datastore.transaction(commit=True) as cursor:
            cursor.executemany(query, rows)


class ApplicationRecorder(AggregateRecorder, persistence.ApplicationRecorder):
    """Records events, and reads them in the order of the log: notification ids are positions."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        appended = self._record(stored_events, **kwargs)
        if appended is None or not stored_events:
            return []
        return list(range(appended.position - len(stored_events) + 1, appended.position + 1))

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        query = SQL(SELECT_NOTIFICATIONS).format(events=self.log.table("events"))
        parameters = {
            "after": (start or 0) - (1 if start and inclusive_of_start else 0),
            "until": VERSIONS if stop is None else stop,
            "types": list(topics) or None,
            "limit": limit,
        }
        rows = self.log.fetch(query, parameters)
        return [Notification(id=row["position"], **self._fields(row)) for row in rows]

    def max_notification_id(self) -> int | None:
        [row] = self.log.fetch(SQL(sql.statement("select_head")).format(head=self.log.table("head")))
        return row["position"] or None

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> persistence.Subscription[persistence.ApplicationRecorder]:
        return Subscription(recorder=self, gt=gt, topics=topics)


class ProcessRecorder(ApplicationRecorder, persistence.ProcessRecorder):
    """Records events together with how far another application's log has been processed."""

    def insert_tracking(self, tracking: persistence.Tracking) -> None:
        self._record([], tracking=tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        query = SQL(sql.statement("select_tracking"))
        rows = self.log.fetch(query.format(tracking=self.log.table("tracking")), {"application": application_name})
        return rows[0]["position"] if rows else None


class Subscription(persistence.ListenNotifySubscription[ApplicationRecorder]):
    """Yields notifications as they are recorded, woken once per batch."""

    def __init__(self, recorder: ApplicationRecorder, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._listen_thread = Thread(target=self._listen, name="log subscription")
        self._listen_thread.start()

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        try:
            super().__exit__(*args, **kwargs)
        finally:
            self._listen_thread.join()

    def _listen(self) -> None:
        log = self._recorder.log
        try:
            with log.datastore.get_connection() as connection:
                connection.execute(SQL("LISTEN {}").format(Identifier(f"{log.schema}.events")))
                self._has_been_notified.set()
                while not self._has_been_stopped:
                    for _ in connection.notifies(timeout=0.1, stop_after=1):
                        self._has_been_notified.set()
                connection.execute("UNLISTEN *")
        except BaseException as error:
            self._thread_error = self._thread_error or error
            self.stop()


def category(application: str) -> str:
    """The category of an application's streams."""
    return re.sub(r"[^a-z0-9_]", "_", application.lower()) or "stored"
