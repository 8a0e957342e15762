"""Operations as events: how one stands at once, its end when it comes, and no more than that."""

import time

import orjson
import pytest
from fastapi import Request, Response

from domains import following
from domains.answers import Answer
from domains.following import Following
from eventstore.operations import MemoryOperations, Operation
from infra.web import Problem

ID = "orders-1"
DONE = Answer(201, {}, b'{"version":1}').told()
FOR_LONG = time.time() + 3600


@pytest.fixture
async def operations():
    kept = MemoryOperations()
    await kept.accept(Operation(ID, "ann", b"x"))
    return kept


def request(**headers):
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": sent})


def events_of(parts):
    blocks = b"".join(parts).decode().split("\n\n")
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks if "data: " in block]


async def test_who_listens_hears_how_it_stands_and_how_it_ends(operations):
    answer = Following(operations).answer(request(), await operations.find(ID), FOR_LONG)
    parts = []
    async for part in answer.body_iterator:
        parts.append(part)
        await operations.answer(ID, DONE)
    told = [(one["id"], orjson.loads(one["data"])) for one in events_of(parts)]
    assert [(id, data["status"]) for id, data in told] == [("accepted", "accepted"), ("succeeded", "succeeded")]
    assert told[-1][1]["answer"]["body"] == {"version": 1}


async def test_who_has_heard_the_end_and_comes_again_is_sent_away(operations):
    await operations.answer(ID, DONE)
    answer = Following(operations).answer(request(last_event_id="succeeded"), await operations.find(ID), FOR_LONG)
    assert type(answer) is Response
    assert answer.status_code == 204


async def test_silence_has_a_heartbeat_and_ends_with_the_token(operations, monkeypatch):
    monkeypatch.setattr(following, "HEARTBEAT_SECONDS", 0.0)
    answer = Following(operations).answer(request(), await operations.find(ID), time.time() + 0.3)
    parts = [part async for part in answer.body_iterator]
    assert len(events_of(parts)) == 1
    assert parts[1:]
    assert set(parts[1:]) == {b": here\n\n"}


async def test_streams_are_bounded_and_make_room_when_they_end(operations, monkeypatch):
    monkeypatch.setattr(following, "STREAMS", 1)
    follow, operation = Following(operations), await operations.find(ID)
    first = follow.answer(request(), operation, 0.0)
    with pytest.raises(Problem) as refused:
        follow.answer(request(), operation, 0.0)
    assert (refused.value.status_code, refused.value.type) == (503, "temporary-reduced-capacity")

    async def receive():
        return {"type": "http.disconnect"}

    async def send(_):
        return None

    await first({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
    assert follow.answer(request(), operation, 0.0).status_code == 200
