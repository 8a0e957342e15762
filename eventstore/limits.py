"""What a store accepts. Everything else is refused with a sentence that names the limit."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from eventstore.errors import InvalidEvent
from eventstore.records import (
    NOTHING,
    Append,
    Condition,
    Exactly,
    Expected,
    IdempotencyKey,
    Metadata,
    NewEvent,
    Selection,
    Snapshot,
)

STREAM = re.compile(r"[^\s\x00-\x1f\x7f/-][^\x00-\x1f\x7f/-]*-[^\x00-\x1f\x7f]+")
STREAM_LENGTH = 255
TYPE_LENGTH = 255
KEY_LENGTH = 255
FIELD_LENGTH = 1024
TAG_BYTES = 2048  # an index takes no value of more than a third of a page
FINGERPRINT_BYTES = 64
EVENT_BYTES = 1024 * 1024
APPEND_BYTES = 16 * EVENT_BYTES
APPEND_EVENTS = 10_000
APPEND_STREAMS = 1000
SELECTIONS = 100
VERSIONS = 2**62


def check(append: Append) -> None:
    """Raise `InvalidEvent` for what can't be recorded."""
    check_stream(append.stream)
    check_expected(append.expected)
    check_events(append.events)
    if append.idempotency is not None:
        check_key(append.idempotency)


def check_together(appends: Sequence[Append], condition: Condition | None, idempotency: IdempotencyKey | None) -> None:
    """Raise `InvalidEvent` for what can't be recorded together."""
    if not 0 < len(appends) <= APPEND_STREAMS:
        raise InvalidEvent(f"{len(appends)} streams in one append, 1 to {APPEND_STREAMS} are accepted")
    if len({append.stream for append in appends}) != len(appends):
        raise InvalidEvent("a stream stands twice in one append")
    for append in appends:
        if append.idempotency is not None:
            raise InvalidEvent("what is appended together has one idempotency key")
        check_stream(append.stream)
        check_expected(append.expected)
    check_events(event for append in appends for event in append.events)
    if idempotency is not None:
        check_key(idempotency)
    if condition is not None:
        check_condition(condition)


def check_refusal(key: IdempotencyKey, stream: str, refusal: bytes) -> None:
    """Raise `InvalidEvent` for what can't be kept."""
    check_key(key)
    check_stream(stream)
    if len(refusal) > EVENT_BYTES:
        raise InvalidEvent(f"a refusal of {len(refusal)} bytes, at most {EVENT_BYTES} are kept")


def check_condition(condition: Condition) -> None:
    if not 0 < len(condition.none_of) <= SELECTIONS:
        raise InvalidEvent(f"{len(condition.none_of)} selections in a condition, 1 to {SELECTIONS} are accepted")
    for only in condition.none_of:
        check_selection(only)


def check_stream(stream: str) -> None:
    check_text("a stream name", stream, STREAM_LENGTH)
    if not STREAM.fullmatch(stream):
        raise InvalidEvent(f"{stream!r} is no stream name: it is <category>-<id>, without control characters")


def check_expected(expected: Expected) -> None:
    if isinstance(expected, Exactly) and not 0 <= expected.version < VERSIONS:
        raise InvalidEvent(f"{expected.version} is no version")


def check_events(events: Iterable[NewEvent]) -> None:
    events = list(events)
    if len(events) > APPEND_EVENTS:
        raise InvalidEvent(f"{len(events)} events in one append, at most {APPEND_EVENTS} are accepted")
    if len(events) > 1 and len({event.id for event in events}) != len(events):
        raise InvalidEvent("two events of one append have the same id")
    size = 0
    for event in events:
        check_event(event)
        size += len(event.data)
    if size > APPEND_BYTES:
        raise InvalidEvent(f"{size} bytes in one append, at most {APPEND_BYTES} are accepted")


def check_event(event: NewEvent) -> None:
    check_text("an event type", event.type, TYPE_LENGTH)
    if len(event.data) > EVENT_BYTES:
        raise InvalidEvent(f"an event of {len(event.data)} bytes, at most {EVENT_BYTES} are accepted")
    check_time(event.time)
    check_metadata(event.metadata)


def check_time(time: datetime) -> datetime:
    """The moment, in UTC."""
    if time.tzinfo is None:
        raise InvalidEvent(f"the time {time.isoformat()} has no time zone")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise InvalidEvent(f"the time {time.isoformat()} is out of range") from None


def check_metadata(metadata: Metadata) -> None:
    if metadata is NOTHING:
        return
    for name in Metadata.__struct_fields__:
        value = getattr(metadata, name)
        if value is not None:
            check_text(name, value, FIELD_LENGTH)
    if metadata.tags is not None:
        longest = max(len(tag) for tag in metadata.tags.encode().split(b" "))
        if longest > TAG_BYTES:
            raise InvalidEvent(f"a tag of {longest} bytes, at most {TAG_BYTES} are accepted")


def check_selection(only: Selection) -> None:
    if only.category is not None:
        check_text("a category", only.category, STREAM_LENGTH)
    for type_name in only.types:
        check_text("an event type", type_name, TYPE_LENGTH)
    if only.correlation_id is not None:
        check_text("a correlation id", only.correlation_id, FIELD_LENGTH)
    for tag in only.tags:
        check_text("a tag", tag, FIELD_LENGTH)
        if " " in tag:
            raise InvalidEvent(f"{tag!r} is no tag: blanks separate tags")


def check_snapshot(snapshot: Snapshot) -> None:
    check_stream(snapshot.stream)
    check_text("a snapshot's type", snapshot.type, TYPE_LENGTH)
    if not 0 < snapshot.version < VERSIONS:
        raise InvalidEvent(f"{snapshot.version} is no version")
    if len(snapshot.data) > APPEND_BYTES:
        raise InvalidEvent(f"a snapshot of {len(snapshot.data)} bytes, at most {APPEND_BYTES} are accepted")


def check_key(key: IdempotencyKey) -> None:
    check_text("an idempotency key", key.key, KEY_LENGTH)
    if not 0 < len(key.fingerprint) <= FINGERPRINT_BYTES:
        raise InvalidEvent(f"a fingerprint has 1 to {FINGERPRINT_BYTES} bytes")


def check_text(what: str, text: str, length: int) -> None:
    if not 0 < len(text) <= length:
        raise InvalidEvent(f"{what} of {len(text)} characters, 1 to {length} are accepted")
    if "\x00" in text:
        raise InvalidEvent(f"{what} contains NUL")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidEvent(f"{what} is not Unicode text: {text!r}") from None
