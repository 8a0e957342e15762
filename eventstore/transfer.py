"""Brings an exported log into an empty store: with its positions and times, all of it or nothing."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import psycopg
from psycopg import Connection

from eventstore import sql
from eventstore.batch import encode_metadata
from eventstore.cloudevents import encode_value, structured
from eventstore.errors import ImportRefused, InvalidEvent, RecordError
from eventstore.limits import check_event
from eventstore.link import sentence
from eventstore.postgres import recorded
from eventstore.records import NewEvent, RecordedEvent

PAGE = 1000
PIECE = 10_000
COLUMNS = ("int8", "int8", "timestamptz", "timestamptz", "uuid", "text", "text", "bytea", "bytea")
Progress = Callable[[int], None]


def bring_in(connection: Connection[Any], lines: Iterable[bytes], progress: Progress = lambda _: None) -> int:
    """How many events there are. Read back, they are what the lines said. Raises `ImportRefused`; then nothing is kept.

    The connection is the owner's: whoever appends can't choose positions.
    """
    told = hashlib.sha256()
    try:
        with connection.transaction():
            connection.execute("SET LOCAL statement_timeout = 0")
            [[head]] = connection.execute(sql.statement("lock_head")).fetchall()
            if head:
                raise ImportRefused(f"the store has {head} events already; an import goes into an empty one")
            count = 0
            events = followed(lines)
            while piece := list(islice(events, PIECE)):
                connection.execute(sql.statement("extend_log"), [count + len(piece)])
                with connection.cursor().copy(sql.statement("import_events")) as copy:
                    copy.set_types(COLUMNS)
                    for event in piece:
                        told.update(encode_value(event, "/"))
                        copy.write_row(row(event))
                count += len(piece)
                progress(count)
            if count:
                connection.execute(sql.statement("import_streams"))
                connection.execute(sql.statement("import_head"))
            if digest(connection) != told.hexdigest():
                raise ImportRefused("what was read back is not what the lines said")
    except psycopg.Error as error:
        raise ImportRefused(sentence(error)) from error
    progress(count)
    return count


def followed(lines: Iterable[bytes]) -> Iterator[RecordedEvent]:
    """The events of the lines, each of which must be the next: in the log, in its stream, and in time."""
    versions: dict[str, int] = {}
    previous: RecordedEvent | None = None
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            raise ImportRefused(f"line {number} is cut off")
        try:
            event = structured(line)
            check_event(NewEvent(event.type, event.data, event.time, event.metadata, event.id))
        except (RecordError, InvalidEvent) as error:
            raise ImportRefused(f"line {number}: {error}") from None
        if event.position != number:
            raise ImportRefused(f"line {number} has position {event.position}: positions count 1, 2, 3 …")
        known = versions.get(event.stream)
        if event.version not in ((0, 1) if known is None else (known + 1,)):
            raise ImportRefused(f"line {number} has version {event.version} of {event.stream}, after {known or 'none'}")
        if previous is not None and event.recorded_at < previous.recorded_at:
            raise ImportRefused(f"line {number} was recorded before the line above it")
        versions[event.stream], previous = event.version, event
        yield event


def row(event: RecordedEvent) -> tuple[object, ...]:
    known = encode_metadata(event.metadata)
    times = (event.time, event.recorded_at)
    return (event.position, event.version, *times, event.id, event.stream, event.type, event.data, known)


def digest(connection: Connection[Any]) -> str:
    """Of all events, as the database gives them back."""
    found, after = hashlib.sha256(), 0
    with connection.cursor(binary=True) as cursor:
        while rows := cursor.execute(sql.statement("read_log"), {"after": after, "limit": PAGE}).fetchall():
            for event in map(recorded, rows):
                found.update(encode_value(event, "/"))
                after = event.position
    return found.hexdigest()
