"""The write side without its doors, on the store in memory."""

import asyncio
import json
from uuid import uuid4

import pytest

from domains.errors import InvalidCommand, Refused, UnknownCommand
from domains.handler import ATTEMPTS, THERE, Handler, Request, fold
from domains.orders import domain
from domains.turns import Turns
from eventstore.errors import IdempotencyConflict, StoreBusy, WrongExpectedVersion
from eventstore.limits import FIELD_LENGTH
from eventstore.memory import MemoryStore
from eventstore.records import Any as AnyVersion
from eventstore.records import Exactly, Metadata, NoStream

LINE = {"sku": "85123A", "description": "T-LIGHT HOLDER", "quantity": 6, "unit_price": "2.55"}
PLACE = {"customer": "17850", "placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE]}
CANCEL = {"cancelled_at": "2010-12-02T08:26:00Z"}


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def handler(store):
    return Handler(domain, store)


def place(id="536365", body=PLACE, **more):
    return Request(id, "place", json.dumps(body).encode(), **more)


def cancel(**more):
    return Request("536365", "cancel", json.dumps(CANCEL).encode(), **more)


async def test_a_command_becomes_an_event_of_its_stream(handler, store):
    appended = await handler.handle(place(metadata=Metadata(actor="ann", request_id="r1")))
    (event,) = await store.read_stream("orders-536365")
    assert (appended.stream, appended.version, appended.position) == ("orders-536365", 1, 1)
    assert event.type == "orders.OrderPlaced.v1"
    assert event.time.isoformat() == "2010-12-01T08:26:00+00:00"
    assert event.metadata == Metadata(actor="ann", request_id="r1", causation_id="place/r1")


@pytest.mark.parametrize(
    ("metadata", "causation_id"),
    [
        (Metadata(), "place"),
        (Metadata(request_id="r1", causation_id="message-1"), "place/message-1"),
        (Metadata(request_id="r" * FIELD_LENGTH), "place/" + "r" * (FIELD_LENGTH - 6)),
    ],
)
async def test_each_event_says_which_command_it_came_of_and_no_command_is_refused_for_it(
    handler, store, metadata, causation_id
):
    await handler.handle(place(metadata=metadata))
    (event,) = await store.read_stream("orders-536365")
    assert event.metadata.causation_id == causation_id


async def test_the_state_is_the_fold_of_the_stream(handler, store):
    await handler.handle(place())
    await handler.handle(cancel())
    folded = await fold(domain, store, "orders-536365")
    assert (folded.version, folded.state.status, str(folded.state.credited)) == (2, "cancelled", "15.30")


async def test_the_same_command_again_changes_nothing(handler, store):
    first = await handler.handle(place())
    again = await handler.handle(place())
    assert (again.version, again.position, again.repeated) == (first.version, first.position, True)
    assert await store.head() == 1


async def test_the_same_key_gets_the_same_answer_even_after_the_stream_moved_on(handler, store):
    key = uuid4().hex
    first = await handler.handle(place(idempotency_key=key))
    await handler.handle(cancel())
    again = await handler.handle(place(idempotency_key=key))
    assert (again.version, again.position, again.repeated) == (first.version, first.position, True)
    assert await store.head() == 2


async def test_a_command_that_changed_nothing_gets_the_same_answer_after_the_stream_moved_on(handler, store):
    await handler.handle(place())
    first = await handler.handle(place(idempotency_key="k"))
    await handler.handle(cancel())
    again = await handler.handle(place(idempotency_key="k"))
    assert (again.version, again.position, again.repeated) == (first.version, first.position, True) == (1, 1, True)
    assert await store.head() == 2


async def test_the_key_of_a_command_that_changed_nothing_is_for_no_other(handler):
    await handler.handle(place())
    await handler.handle(place(idempotency_key="k"))
    with pytest.raises(IdempotencyConflict):
        await handler.handle(cancel(idempotency_key="k"))


async def test_what_stands_around_a_body_makes_no_other_command_of_it(handler, store):
    body = json.dumps(PLACE).encode()
    first = await handler.handle(Request("536365", "place", b" \n" + body + b"\n", idempotency_key="k"))
    again = await handler.handle(Request("536365", "place", body, idempotency_key="k"))
    assert (again.position, again.repeated, await store.head()) == (first.position, True, 1)


async def test_a_key_that_was_used_for_something_else_is_refused(handler):
    await handler.handle(place(idempotency_key="k"))
    with pytest.raises(IdempotencyConflict):
        await handler.handle(place(id="536366", idempotency_key="k"))


@pytest.mark.parametrize("expected", [Exactly(1), Exactly(3)])
async def test_a_demanded_version_that_is_not_there_is_refused(handler, store, expected):
    with pytest.raises(WrongExpectedVersion):
        await handler.handle(place(expected=expected))
    assert await store.head() == 0


async def test_a_stream_that_must_not_exist_is_refused_when_it_does(handler):
    await handler.handle(place(expected=NoStream()))
    with pytest.raises(WrongExpectedVersion):
        await handler.handle(cancel(expected=NoStream()))


async def test_the_business_says_no_with_a_code_and_nothing_is_recorded(handler, store):
    with pytest.raises(Refused) as refused:
        await handler.handle(cancel())
    assert refused.value.code == "unknown-order"
    assert await store.head() == 0


async def test_what_was_refused_under_a_key_stays_refused_under_it(handler):
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await handler.handle(cancel(idempotency_key="k"))
        assert refused.value.code == "unknown-order"
        await handler.handle(place())
    with pytest.raises(IdempotencyConflict):
        await handler.handle(place(idempotency_key="k"))
    assert (await handler.handle(cancel(idempotency_key="another"))).version == 2


async def test_a_refusal_without_a_key_is_of_today(handler):
    with pytest.raises(Refused):
        await handler.handle(cancel())
    await handler.handle(place())
    assert (await handler.handle(cancel())).version == 2


async def test_what_had_a_wrong_version_was_never_begun_and_may_come_again_under_its_key(handler):
    await handler.handle(place())
    with pytest.raises(WrongExpectedVersion):
        await handler.handle(cancel(expected=Exactly(3), idempotency_key="k"))
    assert (await handler.handle(cancel(expected=Exactly(1), idempotency_key="k"))).version == 2


async def test_an_unknown_command_is_named(handler):
    with pytest.raises(UnknownCommand, match="'teleport'"):
        await handler.handle(Request("536365", "teleport", b"{}"))


HOSTILE = {
    "nothing": b"",
    "not JSON": b"{",
    "not UTF-8": b'{"customer": "\xff"}',
    "NaN": b'{"lines": [{"quantity": NaN}]}',
    "no object": b"[]",
    "deeply nested": b"[" * 100_000,
    "deeply nested in an object": b'{"lines":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "wrong types": json.dumps({**PLACE, "lines": "all of them"}).encode(),
    "unknown field": json.dumps({**PLACE, "discount": "100%"}).encode(),
    "the identity in the body": json.dumps({**PLACE, "order": "1"}).encode(),
    "negative quantity": json.dumps({**PLACE, "lines": [{**LINE, "quantity": -1}]}).encode(),
    "absurd quantity": json.dumps({**PLACE, "lines": [{**LINE, "quantity": 10**30}]}).encode(),
    "a quantity in words": json.dumps({**PLACE, "lines": [{**LINE, "quantity": "6"}]}).encode(),
    "money as a number": json.dumps({**PLACE, "lines": [{**LINE, "unit_price": 2.55}]}).encode(),
    "money that is none": json.dumps({**PLACE, "lines": [{**LINE, "unit_price": "NaN"}]}).encode(),
    "endless money": json.dumps({**PLACE, "lines": [{**LINE, "unit_price": "1e999999"}]}).encode(),
    "unknown currency": json.dumps({**PLACE, "currency": "XXX"}).encode(),
    "no lines": json.dumps({**PLACE, "lines": []}).encode(),
    "too many lines": json.dumps({**PLACE, "lines": [LINE] * 2001}).encode(),
    "a time without a zone": json.dumps({**PLACE, "placed_at": "2010-12-01T08:26:00"}).encode(),
    "a time before 1970": json.dumps({**PLACE, "placed_at": "0001-01-01T00:00:00Z"}).encode(),
    "a NUL": json.dumps({**PLACE, "customer": "a\x00b"}).encode(),
    "a customer of 300 characters": json.dumps({**PLACE, "customer": "a" * 300}).encode(),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
async def test_a_body_that_is_not_the_command_is_refused_and_nothing_is_recorded(handler, store, body):
    with pytest.raises(InvalidCommand) as invalid:
        await handler.handle(Request("536365", "place", body))
    assert invalid.value.faults
    assert len(str(invalid.value)) < 5_000
    assert await store.head() == 0


@pytest.mark.parametrize("id", ["", "a/b", "..", "a\x00", "a" * 300, "ähre", "a b", "-a", "a\n"])
async def test_an_id_that_is_none_is_refused(handler, store, id):
    with pytest.raises(InvalidCommand):
        await handler.handle(place(id=id))
    assert await store.head() == 0


class Raced(MemoryStore):
    """A store in which other processes are faster, so many times."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    async def append(self, append):
        if self.times and append.expected == Exactly(1):
            self.times -= 1
            raise WrongExpectedVersion(append.stream, append.expected, 2)
        return await super().append(append)


@pytest.mark.parametrize("expected", [AnyVersion(), THERE], ids=["any", "there"])
async def test_who_demands_no_version_is_never_told_that_it_was_wrong(expected):
    store = Raced(times=ATTEMPTS)
    handler = Handler(domain, store)
    await handler.handle(place())
    assert (await handler.handle(cancel(expected=expected))).version == 2
    store = Raced(times=ATTEMPTS + 1)
    handler = Handler(domain, store)
    await handler.handle(place())
    with pytest.raises(StoreBusy):
        await handler.handle(cancel(expected=expected))
    assert await store.head() == 1


async def test_who_has_lost_a_race_and_all_who_come_later_take_turns():
    turns, order = Turns(), []

    async def take(number):
        async with turns.of("orders-1"):
            order.append(number)
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*(take(number) for number in range(5)))
    assert order == [number for number in range(5) for _ in range(2)]
    assert "orders-1" not in turns
