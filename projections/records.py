"""Judges the records of an events topic: ours with its event, or set aside with a reason."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from domains.codec import decode as decode_event
from domains.errors import UnreadableEvent
from domains.kernel import Domain
from eventstore.cloudevents import decode
from eventstore.errors import RecordError
from infra.kafka import partition_of
from projections.projector import Placed

Headers = list[tuple[str, bytes]]
ORIGIN = "headrace-origin-"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A record as it came, and where from."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that is none of our events, byte for byte, and why."""

    record: Arrived
    reason: str

    @property
    def headers(self) -> Headers:
        """The record's own headers, then where it came from and why it is here."""
        record = self.record
        origin = {"topic": record.topic, "partition": str(record.partition), "offset": str(record.offset)}
        told = {ORIGIN + name: value for name, value in origin.items()}
        told |= {"headrace-reason": self.reason[:1000], "headrace-failed-at": datetime.now(UTC).isoformat()}
        return [*record.headers, *((name, value.encode()) for name, value in told.items())]


def judge(domain: Domain, record: Arrived) -> Placed | DeadLetter:
    try:
        return placed(domain, record)
    except (RecordError, UnreadableEvent) as error:
        return DeadLetter(record, str(error))


def placed(domain: Domain, record: Arrived) -> Placed:
    """The event of a record. Raises `RecordError` or `UnreadableEvent`."""
    recorded = decode(record.key, record.value, record.headers)
    if not recorded.stream.startswith(f"{domain.name}-"):
        raise RecordError(f"the stream {recorded.stream!r} is not one of {domain.name}")
    if partition_of(recorded.stream.encode(), domain.partitions) != record.partition:
        raise RecordError(f"the stream {recorded.stream!r} does not belong to partition {record.partition}")
    event = decode_event(domain, recorded)
    if domain.stream(getattr(event, domain.identity)) != recorded.stream:
        raise RecordError(f"the event is of another aggregate than its stream {recorded.stream!r}")
    return Placed(record.partition, recorded.position, recorded.stream, recorded.version, recorded.recorded_at, event)


def sorted_out(domain: Domain, records: Iterable[Arrived]) -> tuple[list[Placed], list[DeadLetter]]:
    good: list[Placed] = []
    bad: list[DeadLetter] = []
    for record in records:
        match judge(domain, record):
            case Placed() as event:
                good.append(event)
            case dead:
                bad.append(dead)
    return good, bad
