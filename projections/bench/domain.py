"""What is projected for measuring: counters, ten events each."""

from datetime import UTC, datetime
from uuid import uuid4

from domains.kernel import Decider, Domain, Event, Row, View
from eventstore.cloudevents import Record, encode
from eventstore.records import Metadata, RecordedEvent

AT = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS_OF_EACH = 10


class Counted(Event):
    """Something was counted, and what it came to."""

    counter: str
    amount: int
    place: str


class Counter(Row):
    """How much was counted, and where last."""

    counter: str
    count: int
    total: int
    place: str
    changed_at: datetime


def count(row: Counter | None, event: Counted) -> Counter:
    counted, total = (row.count, row.total) if row is not None else (0, 0)
    return Counter(
        counter=event.counter,
        count=counted + 1,
        total=total + event.amount,
        place=event.place,
        changed_at=event.occurred_at,
    )


def counting(name: str) -> Domain:
    view = View("counters", Counter, "counter", lambda event: event.counter, count)
    return Domain(
        name=name,
        identity="counter",
        commands={},
        events={f"{name}.Counted.v1": Counted},
        decider=Decider(None, lambda state, _: state, lambda *_: ()),
        views=(view,),
    )


def record(domain: Domain, position: int, keys: int) -> Record:
    """The record of an event as the relay makes it."""
    counter, version = f"c{position % keys}", position // keys + 1
    event = Counted(occurred_at=AT, counter=counter, amount=position % 100, place="somewhere in the world")
    told = event.model_dump_json().encode()
    kind, stream = next(iter(domain.events)), domain.stream(counter)
    recorded = RecordedEvent(position, stream, version, uuid4(), kind, AT, AT, told, Metadata(request_id=str(uuid4())))
    return encode(recorded, f"/{domain.name}")
