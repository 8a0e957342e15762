"""Recorded events as records of a topic."""

import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from eventstore.cloudevents import carefully, decode, encode, quickly
from eventstore.errors import RecordError
from eventstore.records import Metadata, RecordedEvent

SOURCE = "/orders"
ID = UUID("0193f6c4-0000-7000-8000-000000000001")
EVENT = RecordedEvent(
    position=42,
    stream="orders-536365",
    version=3,
    id=ID,
    type="orders.OrderPlaced.v1",
    time=datetime(2010, 12, 1, 8, 26, tzinfo=UTC),
    recorded_at=datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC),
    data=b'{"total":1.10,"big":123456789012345678901234567890,"nested":{"data":1}}',
    metadata=Metadata("anna", "req-1", "cor-1", "cause-1", "00-" + "a" * 32 + "-" + "b" * 16 + "-01"),
)

printable = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)
moments = st.datetimes(min_value=datetime(2, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
json_data = st.builds(
    lambda value, indent: json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8", "replace"),
    values,
    st.sampled_from([None, 1]),
)
events = st.builds(
    RecordedEvent,
    position=st.integers(1, 2**62 - 1),
    stream=st.builds(lambda id: f"orders-{id}", printable),
    version=st.integers(0, 2**62 - 1),
    id=st.uuids(),
    type=printable,
    time=moments,
    recorded_at=moments,
    data=json_data | st.binary(max_size=100),
    metadata=st.builds(Metadata, *[st.none() | printable] * 5),
)


def record(**changes):
    """Our record, with other attributes; None takes one away."""
    value = orjson.loads(encode(EVENT, SOURCE).value) | changes
    return orjson.dumps({name: content for name, content in value.items() if content is not None})


def read(value, key=b"orders-536365", headers=()):
    return decode(key, value, headers)


def test_our_own_records_are_read_the_quick_way():
    written = encode(EVENT, SOURCE)
    assert quickly(written.key, written.value, written.headers) == EVENT


@given(events, st.data())
def test_the_quick_way_takes_nothing_that_the_careful_one_does_not(event, data):
    """Also where a byte of ours is another one."""
    written = encode(event, SOURCE)
    at, byte = (
        data.draw(st.integers(0, len(written.value) - 1)),
        data.draw(st.sampled_from(b'\x00\xff\\"{}[],:019eZ+- u')),
    )
    value = written.value[:at] + bytes([byte]) + written.value[at + 1 :]
    if (found := quickly(written.key, value, written.headers)) is not None:
        assert found == carefully(written.key, value, written.headers)


@given(events)
def test_every_event_comes_back_as_it_was(event):
    written = encode(event, SOURCE)
    assert decode(written.key, written.value, written.headers) == event


@given(events)
def test_any_other_reader_of_json_understands_the_record(event):
    envelope = json.loads(encode(event, SOURCE).value)
    assert {name: envelope[name] for name in ("specversion", "source", "subject")} == {
        "specversion": "1.0",
        "source": SOURCE,
        "subject": event.stream,
    }


@given(st.binary(), st.none() | st.binary(), st.lists(st.tuples(st.text(), st.none() | st.binary())))
def test_foreign_records_are_refused_and_nothing_else_happens(key, value, headers):
    with pytest.raises(RecordError):
        decode(key, value, headers)


def test_what_people_look_for_stands_first():
    assert list(orjson.loads(encode(EVENT, SOURCE).value)) == [
        *("type", "subject", "sequence", "time", "specversion", "id", "source", "datacontenttype", "recordedtime"),
        *("streamversion", "partitionkey", "actor", "requestid", "correlationid", "causationid", "traceparent", "data"),
    ]


def test_attribute_names_are_those_that_cloudevents_allow():
    names = set(orjson.loads(encode(EVENT, SOURCE).value)) - {"data", "data_base64"}
    assert all(name.isalnum() and name.isascii() and name == name.lower() for name in names)


def test_the_sequence_sorts_as_text():
    sequences = [
        orjson.loads(encode(replace(EVENT, position=position), SOURCE).value)["sequence"] for position in (9, 10, 2**61)
    ]
    assert sequences == sorted(sequences)
    assert {len(sequence) for sequence in sequences} == {20}


def test_headers_are_few():
    headers = dict(encode(EVENT, SOURCE).headers)
    assert headers == {
        "content-type": b"application/cloudevents+json; charset=UTF-8",
        "ce_id": str(ID).encode(),
        "ce_type": b"orders.OrderPlaced.v1",
        "traceparent": EVENT.metadata.traceparent.encode(),
    }


def test_the_payload_stands_in_the_record_byte_for_byte():
    assert EVENT.data in encode(EVENT, SOURCE).value


@pytest.mark.parametrize("data", [b"\x00\xff NaN", b"\r0", b'{"total":1}\n'])
def test_a_payload_whose_bytes_json_would_not_keep_travels_as_base64(data):
    written = encode(replace(EVENT, data=data), SOURCE)
    envelope = orjson.loads(written.value)
    assert envelope["datacontenttype"] == "application/octet-stream"
    assert "data" not in envelope
    assert read(written.value).data == data


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (datetime(2010, 12, 1, 8, 26, 0, 1000, tzinfo=UTC), 1291191960001),
        (datetime(1969, 12, 31, tzinfo=UTC), 1),
        (datetime(1, 1, 1, tzinfo=UTC), 1),
    ],
)
def test_the_record_has_the_time_of_the_event(time, expected):
    assert encode(replace(EVENT, time=time), SOURCE).timestamp_ms == expected


def test_times_are_written_in_utc():
    event = replace(EVENT, time=datetime(2010, 12, 1, 9, 26, tzinfo=timezone(timedelta(hours=1))))
    assert orjson.loads(encode(event, SOURCE).value)["time"] == "2010-12-01T08:26:00Z"


def test_the_order_of_the_members_does_not_matter():
    value = json.loads(encode(EVENT, SOURCE).value, parse_float=str, parse_int=int)
    turned = b'{ "data" : ' + EVENT.data + b" , " + json.dumps({**value, "data": None}).encode()[1:]
    turned = turned.replace(b', "data": null', b"")
    assert read(turned) == EVENT


def test_a_string_that_looks_like_the_payload_is_not_taken_for_it():
    event = replace(EVENT, metadata=Metadata(actor='x","data":{"total":0}'), data=b'{"a":",\\"data\\":1"}')
    assert read(encode(event, SOURCE).value) == event


def test_binary_mode_is_read_too():
    headers = [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_id", str(ID).encode()),
        ("ce_source", SOURCE.encode()),
        ("ce_type", EVENT.type.encode()),
        ("ce_subject", EVENT.stream.encode()),
        ("ce_time", b"2010-12-01T08:26:00Z"),
        ("ce_recordedtime", b"2026-11-23T10:00:00.123456Z"),
        ("ce_sequence", b"00000000000000000042"),
        ("ce_streamversion", b"3"),
        ("ce_actor", b"anna"),
        ("ce_requestid", b"req-1"),
        ("ce_correlationid", b"cor-1"),
        ("ce_causationid", b"cause-1"),
        ("ce_traceparent", EVENT.metadata.traceparent.encode()),
    ]
    assert read(EVENT.data, headers=headers) == EVENT


def test_foreign_headers_may_hold_anything():
    written = encode(EVENT, SOURCE)
    headers = [*written.headers, ("x-foreign", b"\xff\xfe"), ("x-foreign", b"\x00"), ("empty", None)]
    assert decode(written.key, written.value, headers) == EVENT


STRUCTURED = ("content-type", b"application/cloudevents+json")


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (None, [STRUCTURED], "tombstone"),
        (b"", [STRUCTURED], "not JSON"),
        (b"\xff\xfe\x00", [], "not JSON"),
        (b"[1]", [STRUCTURED], "no object"),
        (b"{}", [STRUCTURED], "neither data nor data_base64"),
        (b'{"data":NaN}', [STRUCTURED], "not JSON"),
        (b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}", [STRUCTURED], "not JSON"),
        (b'{"data":' + b"[" * 1_000 + b"]" * 1_000 + b"}", [STRUCTURED], "not JSON|no specversion"),
        (b'{"order": 1}', [("content-type", b"application/json")], "no CloudEvent"),
        (b'{"order": 1}', [("ce_id", b"1")], "no specversion"),
        (b"{}", [STRUCTURED, STRUCTURED], "stands twice"),
        (b"{}", [("ce_type", b"\xff")], "not UTF-8"),
    ],
    ids=lambda value: None if isinstance(value, list | bytes) else str(value),
)
def test_what_is_no_cloudevent_is_refused_with_the_reason(value, headers, reason):
    with pytest.raises(RecordError, match=reason):
        read(value, headers=headers)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"specversion": None}, "no specversion"),
        ({"source": None}, "no source"),
        ({"type": None}, "no type"),
        ({"type": 7}, "type is not a string"),
        ({"type": ""}, "no type"),
        ({"subject": None}, "no subject"),
        ({"subject": ["orders-536365"]}, "subject is not a string"),
        ({"subject": "orders-536366"}, "key .* is not its subject"),
        ({"subject": "nocategory"}, "no stream name"),
        ({"subject": "orders-" + "x" * 300}, "characters"),
        ({"subject": "orders-\x00"}, "NUL"),
        ({"sequence": None}, "no sequence"),
        ({"sequence": 42}, "sequence is not a string"),
        ({"sequence": "0"}, "no position"),
        ({"sequence": "-1"}, "no position"),
        ({"sequence": "٤٢"}, "no position"),
        ({"sequence": "9" * 20}, "no position"),
        ({"sequence": "9" * 5000}, "no position"),
        ({"streamversion": "3"}, "no version"),
        ({"streamversion": True}, "no version"),
        ({"streamversion": 1.5}, "no version"),
        ({"streamversion": -1}, "no version"),
        ({"id": "42"}, "no UUID"),
        ({"time": "yesterday"}, "no time"),
        ({"time": "2010-12-01T08:26:00"}, "no time"),
        ({"time": "0001-01-01T00:00:00+23:00"}, "no time"),
        ({"recordedtime": None}, "no recordedtime"),
        ({"actor": 1}, "actor is not a string"),
        ({"actor": "x" * 2000}, "characters"),
        ({"data": None}, "neither data nor data_base64"),
        ({"data": None, "data_base64": "*"}, "not base64"),
        ({"data": None, "data_base64": 1}, "neither data nor data_base64"),
    ],
    ids=str,
)
def test_a_wrong_attribute_is_named(changes, reason):
    with pytest.raises(RecordError, match=reason):
        read(record(**changes))


@pytest.mark.parametrize("key", [None, b"", b"orders-1", b"\xff"])
def test_a_key_that_is_not_the_stream_is_refused(key):
    with pytest.raises(RecordError, match="key"):
        read(record(), key=key)
