"""Recorded events as records of a topic: structured CloudEvents 1.0, and back.

People read these records in lists that cut them short, so what they look for stands first. `data` stands last, byte
for byte as it was recorded. Readers accept binary mode too.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal, NoReturn
from uuid import UUID

import msgspec
import orjson
from msgspec import Meta

from eventstore.errors import InvalidEvent, RecordError
from eventstore.jsonparts import members
from eventstore.limits import (
    FIELD_LENGTH,
    STREAM,
    STREAM_LENGTH,
    TYPE_LENGTH,
    VERSIONS,
    check_metadata,
    check_stream,
    check_text,
)
from eventstore.records import Metadata, RecordedEvent

SPEC_VERSION: Literal["1.0"] = "1.0"
STRUCTURED = b"application/cloudevents+json; charset=UTF-8"
CONTENT = ("content-type", STRUCTURED)
STRUCTURED_MEDIA = "application/cloudevents+json"
JSON_MEDIA = "application/json"
BYTES_MEDIA = "application/octet-stream"
SEQUENCE_DIGITS = 20
ID, ID_LENGTH = b',"id":"', 36
SEQUENCE = re.compile(r"[0-9]{1,20}", re.ASCII)
PREFIX = "ce_"
ATTRIBUTES = {
    "actor": "actor",
    "request_id": "requestid",
    "correlation_id": "correlationid",
    "causation_id": "causationid",
    "traceparent": "traceparent",
    "tags": "tags",
}

NAMES = tuple(ATTRIBUTES[field] for field in Metadata.__struct_fields__)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
REMEMBERED = 65_536
EARLIEST_MS = 1  # Kafka knows no time before 1970, and its clients take 0 for now

Headers = Iterable[tuple[str, bytes | None]]
Field = Annotated[str, Meta(min_length=1, max_length=FIELD_LENGTH)]


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record of a topic."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp_ms: int


def encode(event: RecordedEvent, source: str) -> Record:
    """The record of an event; `source` says which store it comes from, as a URI reference."""
    key, value = event.stream.encode(), encode_value(event, source)
    id = value.index(ID) + len(ID)  # in a text its quotes would be escaped
    headers = [CONTENT, ("ce_id", value[id : id + ID_LENGTH]), type_header(event.type)]
    if event.metadata.traceparent is not None:
        headers.append(("traceparent", event.metadata.traceparent.encode()))
    return Record(key, value, headers, max(EARLIEST_MS, milliseconds(event.time)))


@lru_cache(maxsize=REMEMBERED)
def type_header(type: str) -> tuple[str, bytes]:
    return ("ce_type", type.encode())


def encode_line(event: RecordedEvent, source: str) -> bytes:
    """The same as one line, which gives back each byte of the data also where these are JSON over several lines."""
    return encode_value(event, source, as_json=b"\n" not in event.data) + b"\n"


def encode_value(event: RecordedEvent, source: str, *, as_json: bool = True) -> bytes:
    known = event.metadata
    told = Envelope(  # by place: by name it takes three times as long
        event.type,
        event.stream,
        str(event.position).zfill(SEQUENCE_DIGITS),
        event.time.astimezone(UTC),
        SPEC_VERSION,
        event.id,
        source,
        JSON_MEDIA,
        event.recorded_at.astimezone(UTC),
        event.version,
        event.stream,
        known.actor,
        known.request_id,
        known.correlation_id,
        known.causation_id,
        known.traceparent,
        known.tags,
    )
    # No reader of JSON keeps white space that stands around a value.
    if as_json and event.data == event.data.strip() and holds_json(event.data):
        told.data = msgspec.Raw(event.data)
    else:
        told.datacontenttype, told.data_base64 = BYTES_MEDIA, base64.b64encode(event.data).decode()
    return written(told)


def holds_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def milliseconds(time: datetime) -> int:
    return (time - EPOCH) // MILLISECOND


class Glance(msgspec.Struct, frozen=True, gc=False):
    """What is needed of a record to read its event."""

    position: int
    stream: str
    version: int
    type: str
    data: bytes


class Envelope(msgspec.Struct, gc=False, omit_defaults=True):
    """A structured CloudEvent as it is written. What else a CloudEvent may be is left to the slower way of reading."""

    type: Annotated[str, Meta(min_length=1, max_length=TYPE_LENGTH)]
    subject: Annotated[str, Meta(max_length=STREAM_LENGTH)]
    sequence: Annotated[str, Meta(min_length=SEQUENCE_DIGITS, max_length=SEQUENCE_DIGITS)]
    time: Annotated[datetime, Meta(tz=True)]
    specversion: Literal["1.0"]
    id: UUID
    source: Annotated[str, Meta(min_length=1)]
    datacontenttype: str
    recordedtime: Annotated[datetime, Meta(tz=True)]
    streamversion: Annotated[int, Meta(ge=0, lt=VERSIONS)]
    partitionkey: str | None = None
    actor: Field | None = None
    requestid: Field | None = None
    correlationid: Field | None = None
    causationid: Field | None = None
    traceparent: Field | None = None
    tags: Field | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data_base64: str | None = None


envelope = msgspec.json.Decoder(Envelope).decode
written = msgspec.json.Encoder().encode


def decode(key: bytes | None, value: bytes | None, headers: Headers) -> RecordedEvent:
    """The event of a record. Raises `RecordError` with the reason for whatever is not one of our events."""
    return quickly(key, value, headers) or carefully(key, value, headers)


def quickly(key: bytes | None, value: bytes | None, headers: Headers) -> RecordedEvent | None:
    """For a record as `encode` makes it. None: look more closely."""
    if (found := opened(key, value, headers)) is None or not holds_json(found[1]):
        return None
    told, data = found
    return RecordedEvent(
        int(told.sequence),
        told.subject,
        told.streamversion,
        told.id,
        told.type,
        told.time,
        told.recordedtime,
        data,
        Metadata(told.actor, told.requestid, told.correlationid, told.causationid, told.traceparent, told.tags),
    )


def glance(key: bytes | None, value: bytes | None, headers: Headers) -> Glance | None:
    """What is needed of such a record to read its event; a number too large for any reader may stand in its data."""
    if (found := opened(key, value, headers)) is None:
        return None
    told, data = found
    return Glance(int(told.sequence), told.subject, told.streamversion, told.type, data)


def opened(key: bytes | None, value: bytes | None, headers: Headers) -> tuple[Envelope, bytes] | None:
    """The envelope and the data, if the record is as `encode` makes it: a hot path.

    Where no character is written as its number, no text can hold a NUL or half a character.
    """
    if key is None or value is None or not plain(headers) or (b"\\" in value and b"\\u" in value):
        return None
    try:
        if not value.isascii():
            value.decode()
        told = envelope(value)
        if told.data is msgspec.UNSET:
            return None
    except ValueError:
        return None
    sequence = told.sequence
    if told.subject != stream_of(key) or not (sequence.isascii() and sequence.isdigit()):
        return None
    if not 0 < int(sequence) < VERSIONS or told.time.tzinfo is not UTC or told.recordedtime.tzinfo is not UTC:
        return None
    return told, bytes(told.data)


@lru_cache(maxsize=REMEMBERED)
def stream_of(key: bytes) -> str | None:
    """The stream that a key names, or None."""
    try:
        stream = key.decode()
    except UnicodeDecodeError:
        return None
    return stream if STREAM.fullmatch(stream) else None


def plain(headers: Headers) -> bool:
    """Whether the headers are those that `encode` writes, and text."""
    if not isinstance(headers, list) or not 3 <= len(headers) <= 4 or headers[0] != CONTENT:
        return False
    (one, id), (other, type) = headers[1], headers[2]
    if one != "ce_id" or other != "ce_type" or (len(headers) == 4 and headers[3][0] != "traceparent"):
        return False
    return id is not None and id.isascii() and type is not None and type.isascii()


def carefully(key: bytes | None, value: bytes | None, headers: Headers) -> RecordedEvent:
    """For any record. Raises `RecordError`."""
    if value is None:
        refuse("it has no value (a tombstone)")
    ours = known_headers(headers)
    media = ours.get("content-type", "").partition(";")[0].strip().lower()
    structured = media == STRUCTURED_MEDIA or (not media and f"{PREFIX}id" not in ours)
    attributes, data = structured_event(value) if structured else binary_event(value, ours)
    event = recorded(attributes, data)
    if key != event.stream.encode():
        refuse(f"its key {key!r} is not its subject {event.stream!r}")
    return event


def known_headers(headers: Headers) -> dict[str, str]:
    """The headers that are ours. Others may hold anything; ours must be text, and stand once."""
    found: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower != "content-type" and not lower.startswith(PREFIX):
            continue
        if lower in found:
            refuse(f"the header {lower!r} stands twice")
        try:
            found[lower] = (value or b"").decode()
        except UnicodeDecodeError:
            refuse(f"the header {lower!r} is not UTF-8")
    return found


def structured(value: bytes) -> RecordedEvent:
    """The event of a structured CloudEvent without headers, as an export has it. Raises `RecordError`."""
    return recorded(*structured_event(value))


def structured_event(value: bytes) -> tuple[Mapping[str, Any], bytes]:
    try:
        attributes, raw = members(value, "data")
    except ValueError as error:
        refuse(f"it is not JSON: {error}")
    if raw is None:
        return attributes, bytes_of(attributes.get("data_base64"))
    return attributes, raw


def bytes_of(encoded: object) -> bytes:
    if not isinstance(encoded, str):
        refuse("it has neither data nor data_base64")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        refuse("its data_base64 is not base64")


def binary_event(value: bytes, headers: Mapping[str, str]) -> tuple[Mapping[str, Any], bytes]:
    attributes: dict[str, Any] = {
        name.removeprefix(PREFIX): text for name, text in headers.items() if name.startswith(PREFIX)
    }
    if not attributes:
        refuse("it is no CloudEvent: neither structured nor with ce_ headers")
    version = attributes.get("streamversion")
    if version is not None and SEQUENCE.fullmatch(version):
        attributes["streamversion"] = int(version)
    return attributes, value


def recorded(attributes: Mapping[str, Any], data: bytes) -> RecordedEvent:
    if text(attributes, "specversion") != SPEC_VERSION:
        refuse(f"its specversion is {attributes['specversion']!r}, not {SPEC_VERSION!r}")
    text(attributes, "source")
    event = RecordedEvent(
        position=sequence(attributes),
        stream=text(attributes, "subject"),
        version=version(attributes),
        id=identity(attributes),
        type=text(attributes, "type"),
        time=moment(attributes, "time"),
        recorded_at=moment(attributes, "recordedtime"),
        data=data,
        metadata=metadata(attributes),
    )
    try:
        check_stream(event.stream)
        check_text("type", event.type, TYPE_LENGTH)
        check_metadata(event.metadata)
    except InvalidEvent as error:
        refuse(str(error))
    return event


def metadata(attributes: Mapping[str, Any]) -> Metadata:
    """Read in the order of the fields, which is that of the attributes: a hot path."""
    return Metadata(*[None if name not in attributes else optional(attributes, name) for name in NAMES])


def text(attributes: Mapping[str, Any], name: str) -> str:
    value = optional(attributes, name)
    if not value:
        refuse(f"it has no {name}")
    return value


def optional(attributes: Mapping[str, Any], name: str) -> str | None:
    value = attributes.get(name)
    if value is not None and not isinstance(value, str):
        refuse(f"its {name} is not a string")
    return value


def sequence(attributes: Mapping[str, Any]) -> int:
    written = text(attributes, "sequence")
    if not SEQUENCE.fullmatch(written) or not 0 < int(written) < VERSIONS:
        refuse(f"its sequence {written[:40]!r} is no position")
    return int(written)


def version(attributes: Mapping[str, Any]) -> int:
    value = attributes.get("streamversion")
    if type(value) is not int or not 0 <= value < VERSIONS:
        refuse("its streamversion is no version")
    return value


def identity(attributes: Mapping[str, Any]) -> UUID:
    written = text(attributes, "id")
    try:
        return UUID(written)
    except ValueError:
        refuse(f"its id {written[:40]!r} is no UUID")


def moment(attributes: Mapping[str, Any], name: str) -> datetime:
    written = text(attributes, name)
    try:
        time = datetime.fromisoformat(written)
        if time.tzinfo is None:
            raise ValueError
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        refuse(f"its {name} {written[:40]!r} is no time with a zone")


def refuse(reason: str) -> NoReturn:
    raise RecordError(reason)
