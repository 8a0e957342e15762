"""An exported log holds every byte of every event, a line each, whatever their data look like."""

from datetime import UTC, datetime
from io import BytesIO
from uuid import uuid4

import pytest

from eventstore.cloudevents import encode_line
from eventstore.records import Metadata, RecordedEvent
from eventstore.transfer import followed

MOMENT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
DATA = [b'{"n":1}', b'{\n "n": 1\n}\n', b' {"n": 1}', b'{"n":\r1}', b'"\\n"', b"7", b"", b"\n", b"\xff\n\x00"]


def recorded(position, data):
    return RecordedEvent(position, "a-1", position, uuid4(), "a.B.v1", MOMENT, MOMENT, data, Metadata())


@pytest.mark.parametrize("data", DATA)
def test_an_event_of_an_exported_log_is_what_was_recorded(data):
    events = [recorded(1, data), recorded(2, b"{}")]
    exported = BytesIO(b"".join(encode_line(event, "/a") for event in events))
    assert list(followed(exported)) == events
