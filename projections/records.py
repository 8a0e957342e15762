"""Judges the records of an events topic: ours with its event, or set aside with a reason."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from domains.codec import Told
from domains.codec import decode as decode_event
from domains.errors import UnreadableEvent
from domains.kernel import Domain, Event
from eventstore.cloudevents import decode, glance
from eventstore.errors import RecordError
from infra.partitions import partition_of
from projections.placed import Arrived, Headers, Placed

ORIGIN = "headrace-origin-"
REASON, FAILED_AT = "headrace-reason", "headrace-failed-at"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that is none of our events, byte for byte, and why."""

    record: Arrived
    reason: str

    @property
    def origin(self) -> str:
        return f"{self.record.topic}/{self.record.partition}@{self.record.offset}"

    @property
    def headers(self) -> Headers:
        """The record's own headers, then where it came from and why it is here."""
        record = self.record
        origin = {"topic": record.topic, "partition": str(record.partition), "offset": str(record.offset)}
        told = {ORIGIN + name: value for name, value in origin.items()}
        told |= {REASON: self.reason[:1000], FAILED_AT: datetime.now(UTC).isoformat()}
        return [*record.headers, *((name, value.encode()) for name, value in told.items())]


def judge(domain: Domain, record: Arrived) -> Placed | DeadLetter:
    """What a record is: an event of ours, also one that this code can't read, or none."""
    try:
        return placed(domain, record)
    except RecordError as error:
        return DeadLetter(record, str(error))


def placed(domain: Domain, record: Arrived) -> Placed:
    """The event of a record. Raises `RecordError`."""
    told = glance(record.key, record.value, record.headers) or decode(record.key, record.value, record.headers)
    stream = told.stream
    if not stream.startswith(f"{domain.name}-"):
        raise RecordError(f"the stream {stream!r} is not one of {domain.name}")
    if partition_of(stream.encode(), domain.partitions) != record.partition:
        raise RecordError(f"the stream {stream!r} does not belong to partition {record.partition}")
    event = read(domain, told)
    if isinstance(event, UnreadableEvent):
        decode(record.key, record.value, record.headers)  # a glance does not see everything
    return Placed(record.partition, record.offset, told.position, stream, record, event)


def read(domain: Domain, recorded: Told) -> Event | UnreadableEvent:
    """The event as today's code reads it, or why it does not. Raises `RecordError` when it belongs elsewhere."""
    try:
        event = decode_event(domain, recorded)
    except UnreadableEvent as error:
        error.__context__ = None  # it would hold on to whatever is in hand
        return error.with_traceback(None)
    if domain.stream(getattr(event, domain.identity)) != recorded.stream:
        raise RecordError(f"the event is of another aggregate than its stream {recorded.stream!r}")
    return event


def sorted_out(events: Iterable[Placed], most: int) -> tuple[list[Placed], list[DeadLetter]]:
    """Events in their order, and what is none; `most` is the highest position that can have been published."""
    good, bad = list[Placed](), list[DeadLetter]()
    for event in events:
        if event.position <= most:
            good.append(event)
            continue
        assert isinstance(event.came, Arrived)  # noqa: S101  # the store has no such position
        why = f"its position {event.position} can't have been published yet: the topic has no more than {most}"
        bad.append(DeadLetter(event.came, why))
    return good, bad


def passed(event: Placed, position: int) -> DeadLetter:
    """Of an event that stands where its partition had passed its position."""
    assert isinstance(event.came, Arrived)  # noqa: S101  # nothing else has an offset
    return DeadLetter(event.came, f"its position {event.position} was passed: the partition is at {position}")
