"""The AsyncAPI documents are valid by the official schema, and what is really sent is what they say."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from domains.codec import encode as encode_event
from domains.command_records import unpacked
from domains.discovery import discover
from domains.intake import origin
from domains.orders import domain
from domains.orders.commands import RECIPIENT
from domains.orders.events import OrderPlaced
from eventstore.cloudevents import encode
from eventstore.records import Metadata, RecordedEvent
from gateway.documents import described
from projections.placed import Arrived
from projections.records import DeadLetter

SCHEMA = json.loads((Path(__file__).parents[2] / "samples" / "asyncapi" / "3.0.0.json").read_text(encoding="utf-8"))
DOCUMENTS = {name: json.loads(one) for name, one in described(discover()).items() if name.startswith("asyncapi")}
DOCUMENT = DOCUMENTS["asyncapi"]
MESSAGES = DOCUMENT["components"]["messages"]
AT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


def faults(found):
    return [error.message[:200] for error in Draft7Validator(SCHEMA).iter_errors(found)]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_valid_and_every_reference_leads_somewhere(name):
    assert faults(DOCUMENTS[name]) == []
    references = set(re.findall(r'"#/([^"]+)"', json.dumps(DOCUMENTS[name])))
    assert references
    for path in references:
        found = DOCUMENTS[name]
        for step in path.split("/"):
            found = found[step]


@pytest.mark.parametrize("part", ["asyncapi", "info", "channels"])
def test_the_schema_would_find_a_fault(part):
    assert faults({**DOCUMENT, part: 7}) != []


def test_every_topic_and_every_event_type_is_described():
    for one in discover().values():
        channel = DOCUMENT["channels"][one.events_topic.replace(".", "-")]
        names = {DOCUMENT["components"]["messages"][name]["name"] for name in channel["messages"]}
        assert (channel["address"], names) == (one.events_topic, set(one.events))
        assert DOCUMENT["channels"][one.skips_topic.replace(".", "-")]["address"] == one.skips_topic
        commands = DOCUMENT["channels"][one.commands_topic.replace(".", "-")]
        asked = {MESSAGES[name]["name"] for name in commands["messages"]}
        assert (commands["address"], asked) == (
            one.commands_topic,
            {f"{one.name}.commands.{name}" for name in one.commands},
        )
        for topic in (one.strange_commands_topic, one.dead_letter_topic):
            assert DOCUMENT["channels"][topic.replace(".", "-")]["address"] == topic
        for view in one.views:
            assert DOCUMENT["channels"][one.view_topic(view).replace(".", "-")]["address"] == one.view_topic(view)


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


def described_by(schema):
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def payload(name="orders-OrderPlaced-v1"):
    return described_by(MESSAGES[name]["payload"])


def test_an_event_as_it_is_sent_is_one_as_it_is_described():
    payload().validate(sent())


@pytest.mark.parametrize("changed", [{"type": "orders.Other.v1"}, {"data": {}}, {"sequence": "1"}])
def test_another_event_is_none(changed):
    assert not payload().is_valid(sent(**changed))


EXAMPLES = [(name, each["payload"]) for name, message in MESSAGES.items() for each in message.get("examples", ())]


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_is_what_its_schema_says(name, example):
    payload(name).validate(example)


def test_every_command_event_and_row_of_orders_has_an_example():
    made_by_people = {name for name in MESSAGES if name.endswith("-dlq") or "EventSkipped" in name}
    wanted = {name for name in MESSAGES if name.startswith("orders-")} - made_by_people
    assert {name for name, _ in EXAMPLES} >= wanted


def test_an_example_of_a_command_is_one_that_the_write_side_takes():
    for name, example in EXAMPLES:
        if "-commands-" in name:
            id, asked = unpacked(domain, json.dumps(example, separators=(",", ":")).encode())
            assert (id, asked.form, asked.command) == (example["id"], example["form"], name.rpartition("-")[2])


@pytest.mark.parametrize(
    "changed",
    [{"form": 2}, {"data": {}}, {"data": "clear"}, {"type": "orders.commands.place"}, {"expectedversion": -1}],
)
def test_another_command_is_none(changed):
    told = next(example for name, example in EXAMPLES if name == "orders-commands-return" and example["form"] == 1)
    assert payload("orders-commands-return").is_valid(told | {"expectedversion": [1, 2]})
    assert not payload("orders-commands-return").is_valid(told | changed)


def test_what_is_said_about_persons_stands_in_no_example():
    assert RECIPIENT not in json.dumps(EXAMPLES)
    (place,) = (example for name, example in EXAMPLES if name == "orders-commands-place" and example["form"] == 1)
    assert place["data"].startswith("sealed:v1:")


def headers_of(told):
    return {name: value.decode() for name, value in told}


def test_a_record_that_is_set_aside_has_the_headers_that_are_described():
    record = Arrived("orders.commands.v1", 3, 7, b"key", b"value", [("own", b"1")])
    for headers in (DeadLetter(record, "it is none").headers, [*record.headers, *origin(record, "it is none")]):
        for topic in (domain.dead_letter_topic, domain.strange_commands_topic):
            schema = described_by(MESSAGES[topic.replace(".", "-")]["headers"])
            schema.validate(headers_of(headers))
            assert not schema.is_valid(headers_of(record.headers))


def test_what_headrace_sends_and_receives_is_told_as_it_does_it():
    does = {
        topic: {
            one["action"] for one in DOCUMENT["operations"].values() if one["channel"]["$ref"] == f"#/channels/{topic}"
        }
        for topic in DOCUMENT["channels"]
    }
    once = {name for name in does if name.endswith(("-dlq", "-skips-v1"))}
    assert {name for name, actions in does.items() if actions == {"send"}} == once
    assert all(actions == {"send", "receive"} for name, actions in does.items() if name not in once)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_way_in_is_said_with_the_server_that_asks_for_it(name):
    (server,) = DOCUMENTS[name]["servers"].values()
    (scheme,) = (one["$ref"].rpartition("/")[2] for one in server["security"])
    assert DOCUMENTS[name]["components"]["securitySchemes"][scheme]["type"] == "scramSha512"
    assert (server["protocol"], server["host"].strip("{}") in server["variables"]) == ("kafka-secure", True)
