"""Commands that are answered later: only what was accepted is done, and only once."""

import json
from dataclasses import replace

import orjson
import pytest
from msgspec import structs

from domains.errors import InvalidCommand, StrangeCommand, UnknownCommand
from domains.handler import Handler, OneOf, Request
from domains.operations import Desk
from domains.orders import domain
from eventstore.errors import EventsDetached, IdempotencyConflict, InvalidEvent, StoreUnavailable
from eventstore.memory import MemoryStore
from eventstore.operations import MemoryOperations
from eventstore.personal.keys import REMEMBERED_SECONDS, MemoryKeys, RememberedKeys
from eventstore.personal.sealing import blank
from eventstore.records import Exactly, Metadata, NoStream
from infra.web import Problem

LINE = {"sku": "85123A", "description": "T-LIGHT HOLDER", "quantity": 6, "unit_price": "2.55"}
PLACE = {"customer": "17850", "placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE]}
WHO = Metadata(actor="ann", request_id="r-1", correlation_id="r-1", traceparent=f"00-{'1' * 32}-{'2' * 16}-01")


class Topic:
    """Keeps what is published."""

    def __init__(self):
        self.records = []

    async def __call__(self, key, value, headers):
        self.records.append((key, value, dict(headers)))


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def desk(store):
    return Desk(domain, Handler(domain, store, keys=MemoryKeys()), MemoryOperations(), Topic())


def asked(body=PLACE, command="place", key="ann 1", **more):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request("7", command, content, idempotency_key=key, metadata=WHO, **more)


async def answer(desk, id):
    found = await desk.find(id, "ann")
    return found.answer and orjson.loads(found.answer)


async def test_a_command_goes_to_the_topic_and_is_done_when_it_comes_back(desk, store):
    id = await desk.accept(asked(), "ann")
    ((key, value, headers),) = desk.publish.records
    event = json.loads(value)
    assert (key, headers["content-type"]) == (b"orders-7", b"application/cloudevents+json; charset=UTF-8")
    assert [event[name] for name in ("type", "subject", "id", "actor", "data")] == [
        *("orders.commands.place", "orders-7", id, "ann", PLACE)
    ]
    assert (await answer(desk, id), await store.head()) == (None, 0)
    await desk.do(value)
    told = await answer(desk, id)
    assert (told["status"], told["headers"]["etag"], told["body"]["version"]) == (201, '"1"', 1)
    (recorded,) = await store.read_stream("orders-7")
    assert recorded.metadata == structs.replace(WHO, causation_id=f"place/{id}")


async def test_a_record_that_comes_twice_has_one_effect(desk, store):
    id = await desk.accept(asked(b" " + json.dumps(PLACE).encode() + b"\n"), "ann")
    await desk.accept(asked(b" " + json.dumps(PLACE).encode() + b"\n"), "ann")
    assert len(desk.publish.records) == 2
    for _, value, _ in desk.publish.records * 2:
        await desk.do(value)
    assert ((await answer(desk, id))["status"], await store.head()) == (201, 1)
    await desk.accept(asked(), "ann")
    assert len(desk.publish.records) == 2


async def test_a_crash_between_the_effect_and_its_answer_has_one_effect(desk, store, monkeypatch):
    id = await desk.accept(asked(), "ann")
    value = desk.publish.records[0][1]

    async def lost(*_):
        raise StoreUnavailable("gone")

    with monkeypatch.context() as broken:
        broken.setattr(desk.operations, "answer", lost)
        with pytest.raises(StoreUnavailable):
            await desk.do(value)
    assert (await answer(desk, id), await store.head()) == (None, 1)
    await Desk(domain, Handler(domain, store, keys=MemoryKeys()), desk.operations, desk.publish).do(value)
    assert ((await answer(desk, id))["body"]["version"], await store.head()) == (1, 1)


async def test_what_the_business_refuses_is_the_answer(desk):
    id = await desk.accept(asked({"cancelled_at": "2010-12-02T00:00:00Z"}, "cancel"), "ann")
    await desk.do(desk.publish.records[0][1])
    told = await answer(desk, id)
    assert (told["status"], told["body"]["type"], told["body"]["code"]) == (409, "/problems/refused", "unknown-order")
    assert (told["body"]["request_id"], told["body"]["instance"]) == ("r-1", "/v1/orders/7/cancel")


async def test_a_problem_names_the_address_that_was_asked(desk):
    cancel = asked({"cancelled_at": "2010-12-02T00:00:00Z"}, "cancel", form=2)
    id = await desk.accept(cancel, "ann")
    await desk.do(desk.publish.records[0][1])
    assert (await answer(desk, id))["body"]["instance"] == "/v2/orders/7/cancel"


async def test_what_the_domain_did_not_foresee_is_an_answer_without_what_broke(desk, monkeypatch, caplog):
    async def broken(_):
        return 1 / 0

    id = await desk.accept(asked(), "ann")
    monkeypatch.setattr(Handler, "handle", lambda _, asked: broken(asked))
    await desk.do(desk.publish.records[0][1])
    told = await answer(desk, id)
    assert (told["status"], told["body"]["type"].rpartition("/")[2]) == (500, "internal-error")
    assert "division" not in json.dumps(told)
    assert "ZeroDivisionError" in caplog.text


async def test_a_version_that_was_demanded_is_demanded_later(desk):
    id = await desk.accept(asked(expected=Exactly(3)), "ann")
    await desk.do(desk.publish.records[0][1])
    assert (await answer(desk, id))["status"] == 412


async def test_what_is_no_command_is_refused_at_once(desk):
    for wrong, error in ((asked(b"{"), InvalidCommand), (asked(command="teleport"), UnknownCommand)):
        with pytest.raises(error):
            await desk.accept(wrong, "ann")
    assert desk.publish.records == []


async def test_a_key_is_for_one_command(desk):
    await desk.accept(asked(), "ann")
    with pytest.raises(IdempotencyConflict):
        await desk.accept(asked({**PLACE, "customer": "2"}), "ann")


async def test_others_do_not_see_it(desk):
    id = await desk.accept(asked(), "ann")
    assert await desk.find(id, "bob") is None
    assert await desk.find("orders-0", "ann") is None


async def test_while_the_store_is_away_a_command_waits(desk, monkeypatch):
    await desk.accept(asked(), "ann")

    async def away(*_, **__):
        raise StoreUnavailable("gone")

    monkeypatch.setattr(desk.handler._store, "append", away)
    with pytest.raises(Problem) as waits:
        await desk.do(desk.publish.records[0][1])
    assert waits.value.status_code == 503


async def test_a_command_that_needs_detached_events_is_answered_and_holds_nobody_up(desk, monkeypatch):
    id = await desk.accept(asked(), "ann")

    async def detached(*_, **__):
        raise EventsDetached("the events up to position 7 are detached")

    monkeypatch.setattr(desk.handler._store, "read_from_snapshot", detached)
    await desk.do(desk.publish.records[0][1])
    told = await answer(desk, id)
    assert (told["status"], told["body"]["type"]) == (503, "/problems/events-detached")


async def test_who_may_own_nothing_is_told_so_later_too(desk):
    id = await desk.accept(asked(owner=""), "ann")
    await desk.do(desk.publish.records[0][1])
    told = await answer(desk, id)
    assert (told["status"], told["body"]["type"]) == (403, "/problems/not-yours")


async def test_what_could_not_be_read_back_is_refused_at_once(desk):
    long = Metadata(actor="x" * 2000, request_id="r-1", correlation_id="r-1")
    with pytest.raises(InvalidEvent, match="actor"):
        await desk.accept(replace(asked(), metadata=long), "ann")
    assert desk.publish.records == []


@pytest.mark.parametrize(
    ("demand", "status"), [(OneOf(), 412), (OneOf(frozenset({1, 2})), 412), (NoStream(), 201), (Exactly(1), 412)]
)
async def test_a_demand_is_kept_for_later(desk, demand, status):
    id = await desk.accept(asked(expected=demand), "ann")
    await desk.do(desk.publish.records[0][1])
    assert (await answer(desk, id))["status"] == status


CHANGES = [
    {"subject": "orders-8"},
    {"subject": "accounts-7"},
    {"type": "orders.commands.cancel"},
    {"type": "orders.OrderPlaced.v1"},
    {"id": "orders-0"},
    {"id": None},
    {"id": "orders-0\x00"},
    {"actor": "ann\x00"},
    {"actor": "mallory"},
    {"actor": 7},
    {"expectedversion": 1},
    {"expectedversion": "1"},
    {"expectedversion": False},
    {"expectedversion": [1]},
    {"expectedversion": [True]},
    {"idempotencykey": "ann 2"},
    {"specversion": "2.0"},
    {"data": {**PLACE, "customer": "1"}},
]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_record_that_is_not_what_was_accepted_is_strange(desk, store, change):
    await desk.accept(asked(), "ann")
    event = {**json.loads(desk.publish.records[0][1]), **change}
    with pytest.raises(StrangeCommand):
        await desk.do(json.dumps(event, separators=(",", ":")).encode())
    assert await store.head() == 0


@pytest.mark.parametrize(
    "value", [None, b"", b"\xff\x00", b"[]", b"7", b"{}", b'{"specversion":"1.0"}', b"[" * 100_000]
)
async def test_what_is_no_record_of_ours_is_strange(desk, value):
    with pytest.raises(StrangeCommand):
        await desk.do(value)


ABOUT = {**PLACE, "recipient": "Ann Muster, 3 Weir Road"}


async def test_what_a_command_says_of_a_person_is_sealed_on_the_topic_and_done_all_the_same(desk, store):
    id = await desk.accept(asked(ABOUT), "ann")
    assert await desk.accept(asked(ABOUT), "ann") == id
    with pytest.raises(IdempotencyConflict):
        await desk.accept(asked({**ABOUT, "recipient": "Bob"}), "ann")
    for _, value, _ in desk.publish.records:
        assert b"Weir" not in value
        await desk.do(value)
    assert ((await answer(desk, id))["status"], await store.head()) == (201, 1)
    again = await desk.handler.handle(asked(ABOUT))
    assert (again.version, again.repeated) == (1, True)


async def test_a_sealed_command_of_somebody_who_was_forgotten_meanwhile_is_refused(desk, store):
    id = await desk.accept(asked(ABOUT), "ann")
    await desk.handler._keys.forget("17850", "olga", "asked")
    await desk.do(desk.publish.records[0][1])
    told = await answer(desk, id)
    assert (told["status"], told["body"]["code"], await store.head()) == (409, "forgotten", 0)


@pytest.mark.parametrize("body", [PLACE, ABOUT])
async def test_nobody_can_end_a_command_as_forgotten_with_a_seal_that_is_not_its_own(desk, store, body):
    keys = desk.handler._keys
    other = await keys.current("13047")
    id = await desk.accept(asked(body), "ann")
    await keys.forget("13047", "olga", "asked")
    record = json.loads(desk.publish.records[0][1])
    for forged in (other.seal(json.dumps(body), "orders-7", 0, "place"), blank("orders-7", 0, "place")):
        with pytest.raises(StrangeCommand):
            await desk.do(json.dumps(record | {"data": forged}, separators=(",", ":")).encode())
    assert await answer(desk, id) is None
    await desk.do(desk.publish.records[0][1])
    assert ((await answer(desk, id))["status"], await store.head()) == (201, 1)


@pytest.mark.parametrize(
    "change", [{"actor": "mallory"}, {"expectedversion": 1}, {"idempotencykey": "ann 2"}, {"owner": "1"}, {"form": 2}]
)
async def test_a_command_of_somebody_forgotten_is_known_by_what_stands_outside_of_its_seal(desk, change):
    id = await desk.accept(asked(ABOUT), "ann")
    await desk.handler._keys.forget("17850", "olga", "asked")
    record = json.loads(desk.publish.records[0][1])
    sealed = {"data": record.pop("data")}
    with pytest.raises(StrangeCommand):
        await desk.do(json.dumps(record | change | sealed, separators=(",", ":")).encode())
    assert await answer(desk, id) is None


async def test_a_command_published_again_is_known_to_be_of_somebody_forgotten(desk):
    for _ in range(2):
        id = await desk.accept(asked(ABOUT), "ann")
    await desk.handler._keys.forget("17850", "olga", "asked")
    await desk.do(desk.publish.records[1][1])
    assert (await answer(desk, id))["body"]["code"] == "forgotten"


async def test_what_was_sealed_before_somebody_was_forgotten_is_not_recorded_under_his_next_key(desk, store):
    """The other process has opened the old key a moment ago, and not yet heard that it is gone."""
    keys, now = desk.handler._keys, 0.0
    other = Handler(domain, store, keys=RememberedKeys(keys, lambda: now))
    id = await desk.accept(asked(ABOUT), "ann")
    (sealed_under,) = (await desk.operations.find(id)).keys
    await other.key(sealed_under)
    await keys.forget("17850", "olga", "asked")
    now = REMEMBERED_SECONDS / 2
    assert await other.key(sealed_under) is not None
    await replace(desk, handler=other).do(desk.publish.records[0][1])
    told = await answer(desk, id)
    assert (told["status"], told["body"]["code"], await store.head()) == (409, "forgotten", 0)


async def test_a_sealed_command_that_was_changed_or_put_elsewhere_is_strange(desk, store):
    await desk.accept(asked(ABOUT), "ann")
    record = json.loads(desk.publish.records[0][1])
    sealed, key = record["data"], record["data"].split(":")[2]
    for forged in (
        sealed[:60] + "AAAA" + sealed[64:],
        sealed.replace(key, "1" * 32),
        sealed.replace("orders-7", "orders-8"),
    ):
        with pytest.raises(StrangeCommand):
            await desk.do(json.dumps(record | {"data": forged}, separators=(",", ":")).encode())
    assert await store.head() == 0
