"""What all AsyncAPI documents share: the envelopes of records, and what is set aside."""

from typing import Any

from domains.personal import SEALED

TEXT = {"type": "string"}
TIME = {"type": "string", "format": "date-time"}
COUNT = {"type": "integer", "minimum": 0}
ORIGIN_HEADERS = {
    "headrace-origin-topic": TEXT,
    "headrace-origin-partition": {**TEXT, "pattern": "^[0-9]+$"},
    "headrace-origin-offset": {**TEXT, "pattern": "^[0-9]+$"},
    "headrace-reason": TEXT,
    "headrace-failed-at": TIME,
}
ENVELOPE = "CloudEvent"
CLOUD_EVENT = {
    "type": "object",
    "description": "A structured CloudEvent 1.0; `data` is the event as it was recorded.",
    "required": ["type", "subject", "sequence", "time", "specversion", "id", "source", "datacontenttype", "data"],
    "properties": {
        "type": TEXT,
        "subject": {**TEXT, "description": "the stream, which is the record's key"},
        "sequence": {**TEXT, "pattern": "^[0-9]{20}$", "description": "the position in the store"},
        "time": TIME,
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "format": "uuid"},
        "source": {"type": "string", "format": "uri-reference"},
        "datacontenttype": {"const": "application/json"},
        "recordedtime": TIME,
        "streamversion": {"type": "integer", "minimum": 1},
        "partitionkey": TEXT,
        **dict.fromkeys(("actor", "requestid", "correlationid", "causationid", "traceparent", "tags"), TEXT),
        "data": {"type": "object"},
    },
}
COMMAND = "Command"
ASKED = {
    "type": "object",
    "description": "A structured CloudEvent 1.0; `data` is the body as it was sent, or sealed.",
    "required": [
        *("type", "subject", "time", "specversion", "id", "source", "datacontenttype"),
        *("idempotencykey", "form", "data"),
    ],
    "properties": {
        "type": TEXT,
        "subject": {**TEXT, "description": "the stream, which is the record's key"},
        "time": TIME,
        "specversion": {"const": "1.0"},
        "id": {**TEXT, "description": "the operation, which tells the outcome"},
        "source": {"type": "string", "format": "uri-reference"},
        "datacontenttype": {"const": "application/json"},
        "idempotencykey": TEXT,
        "expectedversion": {
            "anyOf": [COUNT, {"type": "array", "items": COUNT}],
            "description": "the version that the stream must have, or one of these; 0: it must not be there",
        },
        "owner": {**TEXT, "description": "whose the aggregate must be"},
        "form": {"type": "integer", "minimum": 1, "description": "the version of the address: its form has the body"},
        **dict.fromkeys(("actor", "requestid", "correlationid", "traceparent"), TEXT),
    },
}
SEALED_TEXT = "SealedText"
DEAD_LETTER, ORIGIN = "DeadLetter", "Origin"
SHARED: dict[str, Any] = {
    ENVELOPE: CLOUD_EVENT,
    COMMAND: ASKED,
    SEALED_TEXT: {
        **TEXT,
        "pattern": SEALED,
        "description": "Sealed under the keys of those about whom it says something.",
    },
    DEAD_LETTER: {"description": "Whatever the record held, byte for byte."},
    ORIGIN: {
        "type": "object",
        "description": "The record's own headers, and behind them where it came from and why it is here.",
        "required": [*ORIGIN_HEADERS],
        "properties": ORIGIN_HEADERS,
    },
}
