"""A batch of commands as the arguments of `append_batch`, and its answers as ours."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from struct import Struct

import msgspec
import orjson
from psycopg import AsyncConnection, Connection
from psycopg.adapt import Dumper
from psycopg.pq import Format

from eventstore.errors import EventStoreError, IdempotencyConflict, TrackedBefore, WrongExpectedVersion
from eventstore.records import (
    NOTHING,
    Any,
    Append,
    Appended,
    Condition,
    Exactly,
    Expected,
    IdempotencyKey,
    Metadata,
    NewEvent,
    NoStream,
)


class Part(msgspec.Struct, frozen=True):
    """A run of events of a command for one stream; `first` is what the first adds to the stream's version.

    Only the `final` part of a stream says where the stream then stands.
    """

    stream: str
    expected: Expected
    events: Sequence[NewEvent]
    first: int = 1
    final: bool = True

    @property
    def last(self) -> int | None:
        if not self.final:
            return None
        return self.first + len(self.events) - 1 if self.events else 0


@dataclass(frozen=True, slots=True)
class Tracked:
    """How far another application's log has been processed."""

    application: str
    position: int


class Command(msgspec.Struct, frozen=True):
    """What is recorded whole or not at all. Its events get consecutive positions.

    One with a condition is a batch of its own: its neighbours' events are not in the log yet.
    """

    parts: tuple[Part, ...] = (Part("", Any(), ()),)
    idempotency: IdempotencyKey | None = None
    tracked: Tracked | None = None
    condition: Condition | None = None

    @classmethod
    def of(cls, append: Append) -> "Command":
        return cls((Part(append.stream, append.expected, append.events),), append.idempotency)

    @classmethod
    def together(cls, appends: Sequence[Append], condition: Condition | None, key: IdempotencyKey | None) -> "Command":
        parts = tuple(Part(append.stream, append.expected, append.events) for append in appends)
        return cls(parts, key, condition=condition)

    @property
    def size(self) -> int:
        """Roughly the bytes that it takes in a batch."""
        return sum(128 + len(event.data) for part in self.parts for event in part.events)

    @property
    def claims(self) -> Sequence[object]:
        """What no two commands of one batch may share."""
        claims: list[object] = [part.stream for part in self.parts if part.stream]
        if self.idempotency is not None:
            claims.append((self.idempotency.key,))
        if self.tracked is not None:
            claims.append((self.tracked.application, "tracked"))
        return claims


Answer = Appended | EventStoreError
Row = tuple[int, int | None, int, int]

NULL = Struct("!i").pack(-1)
LENGTH = Struct("!i").pack
HEADER = Struct("!iiIii").pack
INT4 = Struct("!ii").pack
INT8 = Struct("!iq").pack
Y2K = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Array(bytes):
    """A one-dimensional array in PostgreSQL's binary form; each subclass is one element type."""

    array_oid = 0
    item_oid = 0

    @classmethod
    def of(cls, items: Sequence[bytes | None]) -> "Array":
        pieces = [HEADER(1, 1, cls.item_oid, len(items), 1)]
        for item in items:
            pieces += (NULL,) if item is None else (LENGTH(len(item)), item)
        return cls(b"".join(pieces))


class Int4s(Array):
    array_oid, item_oid = 1007, 23

    @classmethod
    def numbers(cls, items: Sequence[int]) -> "Int4s":
        return cls(HEADER(1, 0, cls.item_oid, len(items), 1) + b"".join([INT4(4, item) for item in items]))


class Int8s(Array):
    array_oid, item_oid = 1016, 20

    @classmethod
    def numbers(cls, items: Sequence[int | None]) -> "Int8s":
        numbers = [NULL if item is None else INT8(8, item) for item in items]
        return cls(HEADER(1, 1, cls.item_oid, len(items), 1) + b"".join(numbers))


class Times(Array):
    array_oid, item_oid = 1185, 1184

    @classmethod
    def moments(cls, items: Sequence[datetime]) -> "Times":
        numbers = [INT8(8, (item - Y2K) // MICROSECOND) for item in items]
        return cls(HEADER(1, 0, cls.item_oid, len(items), 1) + b"".join(numbers))


class Texts(Array):
    array_oid, item_oid = 1009, 25


class Uuids(Array):
    array_oid, item_oid = 2951, 2950


class Blobs(Array):
    array_oid, item_oid = 1001, 17


def register(connection: AsyncConnection[object] | Connection[object]) -> None:
    """Teach a connection to send our arrays."""
    for kind in (Int4s, Int8s, Times, Texts, Uuids, Blobs):
        connection.adapters.register_dumper(kind, dumper_of(kind))


def dumper_of(kind: type[Array]) -> type[Dumper]:
    class ArrayDumper(Dumper):
        format = Format.BINARY
        oid = kind.array_oid

        def dump(self, obj: bytes) -> bytes:
            return obj

    return ArrayDumper


def arguments(batch: Sequence[Command]) -> tuple[Array | None, ...]:
    """The arguments of `append_batch` for these commands."""
    parts = [(number, part) for number, command in enumerate(batch, 1) for part in command.parts]
    rows = [
        (number, nth, part.stream, event)
        for number, (_, part) in enumerate(parts, 1)
        for nth, event in enumerate(part.events, part.first)
    ]
    streams = {part.stream: part.stream.encode() for _, part in parts}
    return (
        Int4s.numbers([number for number, _ in parts]),
        Texts.of([streams[part.stream] for _, part in parts]),
        Int8s.numbers([expected_number(part.expected) for _, part in parts]),
        Int8s.numbers([part.last for _, part in parts]),
        Int4s.numbers([len(part.events) for _, part in parts]),
        Int4s.numbers([number for number, _, _, _ in rows]),
        Int8s.numbers([nth for _, nth, _, _ in rows]),
        Uuids.of([event.id.bytes for _, _, _, event in rows]),
        Texts.of([streams[stream] for _, _, stream, _ in rows]),
        Texts.of([event.type.encode() for _, _, _, event in rows]),
        Times.moments([event.time for _, _, _, event in rows]),
        Blobs.of([event.data for _, _, _, event in rows]),
        Blobs.of([encode_metadata(event.metadata) for _, _, _, event in rows]),
        *key_arguments([command.idempotency for command in batch]),
        *tracked_arguments([command.tracked for command in batch]),
    )


def key_arguments(keys: Sequence[IdempotencyKey | None]) -> tuple[Array | None, Array | None]:
    if not any(keys):
        return None, None
    return (
        Texts.of([None if key is None else key.key.encode() for key in keys]),
        Blobs.of([None if key is None else key.fingerprint for key in keys]),
    )


def tracked_arguments(tracked: Sequence[Tracked | None]) -> tuple[Array | None, Array | None]:
    if not any(tracked):
        return None, None
    return (
        Texts.of([None if one is None else one.application.encode() for one in tracked]),
        Int8s.numbers([None if one is None else one.position for one in tracked]),
    )


def expected_number(expected: Expected) -> int | None:
    match expected:
        case Exactly(version):
            return version
        case NoStream():
            return -1
        case Any():
            return None


def answers(batch: Sequence[Command], rows: Iterable[Row]) -> list[Answer]:
    """What each command is answered."""
    first = 1
    found: list[Answer] = []
    for command, row in zip(batch, rows, strict=True):
        found.append(answer(command, row, first))
        first += len(command.parts)
    return found


def answer(command: Command, row: Row, first: int) -> Answer:
    outcome, part, version, position = row
    match outcome, command:
        case ((1 | 2), _):
            return Appended(command.parts[0].stream, version, position, repeated=outcome == 2)
        case 3, Command(idempotency=IdempotencyKey(key)):
            return IdempotencyConflict(key)
        case 4, _ if part is not None:
            culprit = command.parts[part - first]
            return WrongExpectedVersion(culprit.stream, culprit.expected, version)
        case 5, Command(tracked=Tracked(application, tracked)):
            return TrackedBefore(application, tracked)
    raise ValueError(f"append_batch answered {row}")


def encode_metadata(metadata: Metadata) -> bytes:
    if metadata == NOTHING:
        return b"{}"
    fields = ((name, getattr(metadata, name)) for name in Metadata.__struct_fields__)
    return orjson.dumps({name: value for name, value in fields if value is not None})


known_metadata = msgspec.json.Decoder(Metadata).decode


def decode_metadata(data: bytes) -> Metadata:
    """Fields that a newer version wrote and this one doesn't know are left out."""
    if data == b"{}":
        return NOTHING
    return known_metadata(data)
