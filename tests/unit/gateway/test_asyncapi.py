"""The AsyncAPI documents are valid by the official schema, and what is really sent is what they say."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from domains.codec import encode as encode_event
from domains.discovery import discover
from domains.orders import domain
from domains.orders.events import OrderPlaced
from eventstore.cloudevents import encode
from eventstore.records import Metadata, RecordedEvent
from gateway.asyncapi import document

SCHEMA = json.loads((Path(__file__).parents[2] / "samples" / "asyncapi" / "3.0.0.json").read_text(encoding="utf-8"))
DOCUMENT = document(discover())
AT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


def faults(found):
    return [error.message[:200] for error in Draft7Validator(SCHEMA).iter_errors(found)]


def test_the_document_is_valid():
    assert faults(DOCUMENT) == []


@pytest.mark.parametrize("part", ["asyncapi", "info", "channels"])
def test_the_schema_would_find_a_fault(part):
    assert faults({**DOCUMENT, part: 7}) != []


def test_every_topic_and_every_event_type_is_described():
    for one in discover().values():
        channel = DOCUMENT["channels"][one.events_topic.replace(".", "-")]
        names = {DOCUMENT["components"]["messages"][name]["name"] for name in channel["messages"]}
        assert (channel["address"], names) == (one.events_topic, set(one.events))
        assert DOCUMENT["channels"][one.skips_topic.replace(".", "-")]["address"] == one.skips_topic
        for view in one.views:
            assert DOCUMENT["channels"][one.view_topic(view).replace(".", "-")]["address"] == one.view_topic(view)


def test_every_reference_leads_somewhere():
    for path in set(re.findall(r'"#/([^"]+)"', json.dumps(DOCUMENT))):
        found = DOCUMENT
        for name in path.split("/"):
            found = found[name]


def sent(**changed):
    line = {"sku": "85123A", "quantity": 6, "unit_price": "2.55"}
    event = OrderPlaced(
        occurred_at=AT, order="1", customer="17850", country="Norway", currency="GBP", lines=(line,), total="15.30"
    )
    data = encode_event(domain, event, "orders-1", 1, Metadata(actor="ann", request_id="r-1"))
    identity = UUID("12345678-1234-5678-1234-567812345678")
    recorded = RecordedEvent(
        id=identity,
        type=data.type,
        data=data.data,
        metadata=data.metadata,
        time=AT,
        stream="orders-1",
        version=1,
        position=1,
        recorded_at=AT,
    )
    return {**json.loads(encode(recorded, "headrace").value), **changed}


def payload():
    message = DOCUMENT["components"]["messages"]["orders-OrderPlaced-v1"]
    return Draft202012Validator({**message["payload"], "components": DOCUMENT["components"]})


def test_an_event_as_it_is_sent_is_one_as_it_is_described():
    payload().validate(sent())


@pytest.mark.parametrize("changed", [{"type": "orders.Other.v1"}, {"data": {}}, {"sequence": "1"}])
def test_another_event_is_none(changed):
    assert not payload().is_valid(sent(**changed))
