"""What of an event is hashed, and how the hashes of a stream hang together.

An entry is the event as the store keeps it: nine fields, each as its length in four bytes (big-endian) and its bytes.
In order: position, version (eight bytes, big-endian); time, recorded_at (microseconds since 2000-01-01T00:00Z, eight
bytes, big-endian, two's complement); id (16 bytes); stream, type (UTF-8); data, metadata (the stored bytes, which may
be ciphertext). PostgreSQL sends these columns so in binary; a field that is NULL has the length 0xffffffff.

    hash = SHA-256(0x00 ‖ hash of the event before it in its stream, 32 zeros for the first ‖ entry)

So it is the leaf hash of RFC 9162 over the two, and proves with an event all that came before it in its stream.
"""

from collections.abc import Sequence
from datetime import UTC, timedelta
from hashlib import sha256
from struct import Struct
from uuid import UUID

from eventstore.batch import MICROSECOND, Y2K, encode_metadata
from eventstore.evidence.merkle import HASH_BYTES, LEAF
from eventstore.records import RecordedEvent

FIRST = bytes(HASH_BYTES)
FIELDS = ("position", "version", "time", "recorded_at", "id", "stream", "type", "data", "metadata")
LENGTH = Struct("!I")
NUMBER = Struct("!q")
NULL = b"\xff\xff\xff\xff"
POSITION = slice(4, 12)
VERSION = slice(16, 24)
STREAM_LENGTH = 68
STREAM = STREAM_LENGTH + LENGTH.size


def entry_of(values: Sequence[bytes | None]) -> bytes:
    """The entry of nine stored values."""
    return b"".join([NULL if value is None else LENGTH.pack(len(value)) + value for value in values])


def entry(event: RecordedEvent) -> bytes:
    """The entry of an event whose metadata are those that this code wrote."""
    times = [NUMBER.pack((time - Y2K) // MICROSECOND) for time in (event.time, event.recorded_at)]
    texts = [event.stream.encode(), event.type.encode()]
    numbers = [NUMBER.pack(event.position), NUMBER.pack(event.version)]
    return entry_of([*numbers, *times, event.id.bytes, *texts, event.data, encode_metadata(event.metadata)])


def hash_of(previous: bytes, entry: bytes) -> bytes:
    return sha256(LEAF + previous + entry).digest()


def position_of(entry: bytes) -> int:
    return int.from_bytes(entry[POSITION], signed=True)


def version_of(entry: bytes) -> int:
    return int.from_bytes(entry[VERSION], signed=True)


def stream_of(entry: bytes) -> bytes:
    (length,) = LENGTH.unpack_from(entry, STREAM_LENGTH)
    return entry[STREAM : STREAM + length]


def placed_at(position: int, entry: bytes) -> bytes:
    """The same event at another position."""
    return entry[: POSITION.start] + NUMBER.pack(position) + entry[POSITION.stop :]


def shown(entry: bytes) -> dict[str, object]:
    """The fields of an entry for a person; data that are no text are in hexadecimal."""
    values, start = [], 0
    for _ in FIELDS:
        (length,) = LENGTH.unpack_from(entry, start)
        start += LENGTH.size
        values.append(entry[start : start + length])
        start += length
    position, version, time, recorded_at, id, *rest = values
    numbers = [int.from_bytes(value, signed=True) for value in (position, version)]
    times = [moment(int.from_bytes(value, signed=True)) for value in (time, recorded_at)]
    return dict(zip(FIELDS, [*numbers, *times, str(UUID(bytes=id)), *map(text, rest)], strict=True))


def moment(microseconds: int) -> str:
    return (Y2K + timedelta(microseconds=microseconds)).astimezone(UTC).isoformat()


def text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def chained(
    entries: Sequence[bytes], latest: dict[bytes, bytes], undo: list[tuple[bytes, bytes | None]] | None = None
) -> list[bytes]:
    """The hash of each entry; `latest` holds the last hash of each stream, before and then after.

    `undo` gets each stream with its hash before, in order.
    """
    hashes = []
    unpack, get, first = LENGTH.unpack_from, latest.get, LEAF + FIRST
    for entry in entries:
        stream = entry[STREAM : STREAM + unpack(entry, STREAM_LENGTH)[0]]
        previous = get(stream)
        found = sha256((first if previous is None else LEAF + previous) + entry).digest()
        latest[stream] = found
        hashes.append(found)
        if undo is not None:
            undo.append((stream, previous))
    return hashes
