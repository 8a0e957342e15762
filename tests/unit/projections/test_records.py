"""Records that are none of our events are set aside, byte for byte, with a reason; no other is."""

import json
from dataclasses import replace as replace_domain
from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

import pytest
from msgspec.structs import replace
from pydantic import BeforeValidator

from domains.errors import UnreadableEvent
from domains.kernel import Event, Upcaster
from domains.orders import domain
from eventstore.cloudevents import decode, encode
from eventstore.records import Metadata, RecordedEvent
from infra.partitions import partition_of
from projections.placed import Arrived, Placed
from projections.records import DeadLetter, judge

AT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
DATA = {
    "occurred_at": "2010-12-01T08:26:00Z",
    "order": "536365",
    "customer": None,
    "country": "France",
    "currency": "EUR",
    "lines": [{"sku": "POST", "description": "", "quantity": 1, "unit_price": "18.00"}],
    "total": "18.00",
}


def arrived(stream="orders-536365", type="orders.OrderPlaced.v1", data=DATA, **changes):
    recorded = RecordedEvent(7, stream, 1, uuid4(), type, AT, AT, json.dumps(data).encode(), Metadata())
    record = encode(recorded, "/orders")
    partition = partition_of(stream.encode(), domain.partitions)
    whole = Arrived(domain.events_topic, partition, 3, record.key, record.value, list(record.headers))
    return replace(whole, **changes)


def test_an_event_of_ours_is_taken_with_where_it_stands():
    judged = judge(domain, arrived())
    assert isinstance(judged, Placed)
    assert (judged.position, judged.stream, judged.version) == (7, "orders-536365", 1)
    assert judged.event.country == "France"


def test_a_foreign_header_that_is_no_utf_8_does_no_harm():
    record = arrived()
    assert isinstance(judge(domain, replace(record, headers=[*record.headers, ("trace-bin", b"\xff\xfe")])), Placed)


UNREADABLE = {
    "an unknown type": arrived(type="orders.OrderTeleported.v1"),
    "a newer version": arrived(type="orders.OrderPlaced.v9"),
    "data of another shape": arrived(data={"order": "536365"}),
    "data with a field too many": arrived(data={**DATA, "owner": "me"}),
}


@pytest.mark.parametrize("record", UNREADABLE.values(), ids=UNREADABLE)
def test_an_event_of_ours_that_this_code_can_t_read_is_no_stranger(record):
    judged = judge(domain, record)
    assert isinstance(judged, Placed)
    assert isinstance(judged.event, UnreadableEvent)
    assert (judged.event.__traceback__, judged.event.__context__) == (None, None), "it holds on to what was in hand"
    assert judged.recorded.data == decode(record.key, record.value, record.headers).data


good = arrived()
HOSTILE = {
    "not JSON": replace(good, value=b"{"),
    "no CloudEvent": replace(good, value=b'{"hello": "world"}'),
    "a tombstone": replace(good, value=None),
    "no key": replace(good, key=None),
    "the key of another stream": replace(good, key=b"orders-1"),
    "a wrong content type": replace(good, headers=[("content-type", b"text/plain")]),
    "another domain's stream": arrived(stream="payments-536365"),
    "another aggregate than its stream": arrived(data={**DATA, "order": "1"}),
    "a number that no reader can hold": replace(good, value=good.value.replace(b'"quantity": 1', b'"quantity": 1e999')),
    "a megabyte of nothing": replace(good, value=b"\x00" * 1_000_000),
    "the wrong partition": replace(good, partition=(good.partition + 1) % domain.partitions),
    "a header of ours that is no UTF-8": replace(
        good, headers=[("ce_type", b"\xff") if name == "ce_type" else (name, value) for name, value in good.headers]
    ),
}


@pytest.mark.parametrize("record", HOSTILE.values(), ids=HOSTILE)
def test_a_record_that_is_none_of_our_events_is_set_aside_as_it_came(record):
    judged = judge(domain, record)
    assert isinstance(judged, DeadLetter)
    assert judged.record is record
    assert judged.headers[: len(record.headers)] == record.headers
    told = dict(judged.headers[len(record.headers) :])
    assert told["headrace-origin-topic"] == b"orders.events.v1"
    assert (told["headrace-origin-partition"], told["headrace-origin-offset"]) == (str(record.partition).encode(), b"3")
    assert told["headrace-reason"]


@pytest.mark.parametrize("raised", [ZeroDivisionError("by nothing"), KeyError("sum"), RuntimeError("odd")])
@pytest.mark.parametrize("who", ["validator", "upcaster"])
def test_whatever_a_validator_or_an_upcaster_raises_is_about_that_event_only(raised, who):
    def raises(_):
        raise raised

    class Odd(Event):
        order: Annotated[str, BeforeValidator(raises)]

    old = "orders.OrderSent.v1"
    if who == "upcaster":
        newer = {**domain.events, "orders.OrderSent.v2": domain.events["orders.OrderPlaced.v1"]}
        change = replace_domain(domain, events=newer, upcasters=(Upcaster(old, raises),))
    else:
        change = replace_domain(domain, events={**domain.events, old: Odd})
    judged = judge(change, arrived(type=old))
    assert isinstance(judged, Placed)
    assert isinstance(judged.event, UnreadableEvent)
    assert type(raised).__name__ in str(judged.event)
