"""A command that begins streams is decided without a look at what is there, and answered as if it had looked."""

import json

import pytest

from domains.errors import NotYours, Refused
from domains.handler import SURE, Handler, Request
from domains.orders import domain
from eventstore.errors import IdempotencyConflict, WrongExpectedVersion
from eventstore.memory import MemoryStore
from eventstore.records import Any, Exactly, NoStream

LINE = {"sku": "85123A", "description": "T-LIGHT HOLDER", "quantity": 6, "unit_price": "2.55"}
PLACE = {"customer": "17850", "placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE]}
BEFORE = [str(number) for number in range(1, SURE + 1)]
CANCEL = {"cancelled_at": "2010-12-02T08:26:00Z"}


class Looking(MemoryStore):
    """Counts how often somebody looks at a stream."""

    looks = 0

    async def read_stream(self, stream, **bounds):
        self.looks += 1
        return await super().read_stream(stream, **bounds)


@pytest.fixture
def store():
    return Looking()


@pytest.fixture
async def handler(store):
    """It has begun enough streams by this command."""
    handler = Handler(domain, store)
    for id in BEFORE:
        await handler.handle(place(id))
    store.looks = 0
    return handler


def place(id, customer="17850", **more):
    return Request(id, "place", json.dumps(PLACE | {"customer": customer}).encode(), **more)


def cancel(id, **more):
    return Request(id, "cancel", json.dumps(CANCEL).encode(), **more)


async def recorded(store):
    """What was recorded since."""
    return [(event.stream, event.version) for event in await store.read_log(after=SURE)]


@pytest.mark.parametrize("expected", [Any(), NoStream()])
async def test_one_more_stream_is_begun_without_a_look(handler, store, expected):
    begun = await handler.handle(place("a", expected=expected))
    assert (begun.version, begun.repeated, store.looks) == (1, False, 0)
    assert await recorded(store) == [("orders-a", 1)]


async def test_the_first_commands_after_a_start_look(store):
    handler = Handler(domain, store)
    for id in BEFORE:
        store.looks = 0
        await handler.handle(place(id))
        assert store.looks > 0


async def test_the_next_command_of_the_stream_sees_what_was_begun(handler, store):
    await handler.handle(place("a"))
    assert (await handler.handle(cancel("a"))).version == 2
    assert store.looks > 0


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (place("1", customer="17851"), Refused),
        (place("1", expected=NoStream()), WrongExpectedVersion),
        (place("1", expected=Exactly(5)), WrongExpectedVersion),
        (place("1", customer="17851", owner="17851"), NotYours),
        (place("a", customer="17850", owner="17851"), NotYours),
        (cancel("a"), Refused),
    ],
)
async def test_what_is_refused_is_refused_after_a_look_and_as_ever(handler, store, request_, error):
    with pytest.raises(error) as refused:
        await handler.handle(request_)
    assert store.looks > 0
    assert await recorded(store) == []
    with pytest.raises(error) as as_ever:
        await Handler(domain, store).handle(request_)
    assert str(refused.value) == str(as_ever.value)


async def test_what_changes_nothing_is_answered_with_where_the_stream_stands(handler, store):
    again = await handler.handle(place("1"))
    assert (again.version, again.position, again.repeated) == (1, 1, True)
    assert await recorded(store) == []


async def test_a_repeat_gets_its_answer_and_another_command_with_its_key_none(handler, store):
    first = await handler.handle(place("a", idempotency_key="k"))
    for _ in range(3):
        again = await handler.handle(place("a", idempotency_key="k"))
        assert (again.version, again.position, again.repeated) == (first.version, first.position, True)
    with pytest.raises(IdempotencyConflict):
        await handler.handle(place("b", idempotency_key="k"))
    assert await recorded(store) == [("orders-a", 1)]


async def test_after_a_repeat_it_is_looked_until_enough_streams_are_begun_again(handler, store):
    await handler.handle(place("a", idempotency_key="k"))
    await handler.handle(place("a", idempotency_key="k"))
    for number in range(SURE + 1):
        store.looks = 0
        await handler.handle(place(f"b{number}"))
        assert (store.looks > 0) is (number < SURE)
