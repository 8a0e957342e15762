"""What a command says about a person is sealed before it is recorded, and opened for answers only."""

import json
import logging
from dataclasses import replace
from typing import Annotated

import pytest
from msgspec import structs
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from domains.aggregates import Aggregates, Policy
from domains.codec import decode
from domains.errors import InvalidCommand, NotADomain, Refused, UnreadableEvent
from domains.handler import Handler, Request, fold
from domains.history import check, record
from domains.kernel import Command, Upcaster, View
from domains.opening import FORGOTTEN, bodies, plain, recorded_data
from domains.orders import domain
from domains.orders.commands import PlaceOrder
from domains.orders.model import Order
from domains.orders.views import order_details
from domains.personal import Of, Personal
from eventstore.errors import IdempotencyConflict, KeyMissing, SealBroken
from eventstore.memory import MemoryStore
from eventstore.personal.keys import MemoryKeys
from eventstore.personal.sealing import PREFIX, Sealed

ANN = "Ann Muster, 3 Weir Road, Leat"
LINE = {"sku": "85123A", "quantity": 6, "unit_price": "2.55"}
PLACE = {"placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE]}
STREAM = "orders-1"


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def keys():
    return MemoryKeys()


@pytest.fixture
def handler(store, keys):
    return Handler(domain, store, keys=keys)


def place(id="1", recipient=ANN, customer="17850", **more):
    body = {**PLACE, "recipient": recipient, "customer": customer}
    return Request(id, "place", json.dumps(body).encode(), **more)


async def only_event(store, stream=STREAM):
    (event,) = await store.read_stream(stream)
    return event


async def test_what_is_recorded_is_sealed_for_its_place(handler, store):
    await handler.handle(place())
    event = await only_event(store)
    assert b"Weir" not in event.data
    found = Sealed.parsed(json.loads(event.data)["recipient"])
    assert (found.stream, found.version, found.field) == (STREAM, 1, "recipient")


async def test_states_rows_and_snapshots_have_the_sealed_text(handler, store):
    await handler.handle(place())
    aggregates = Aggregates(domain, store, Policy(snapshot_every=1))
    state = (await aggregates.load(STREAM)).state
    row = order_details(None, decode(domain, await only_event(store)))
    kept, _ = await store.read_from_snapshot(STREAM, aggregates._type)
    for text in (state.model_dump_json(), row.model_dump_json(), kept.data.decode()):
        assert PREFIX in text
        assert "Weir" not in text
    assert (await Aggregates(domain, store, Policy(snapshot_every=1)).load(STREAM)).state == state


async def test_an_answer_has_the_clear_text_until_its_subject_is_forgotten(handler, store, keys):
    await handler.handle(place())
    await handler.handle(place("2", "Bob Example", "12346"))
    rows = [(await fold(domain, store, stream)).state for stream in (STREAM, "orders-2")]
    assert [json.loads(body)["recipient"] for body in await bodies(rows, keys)] == [ANN, "Bob Example"]
    await keys.forget("17850", "olga", "asked")
    assert [values["recipient"] for values in await plain(rows, keys)] == [FORGOTTEN, "Bob Example"]
    data = json.loads(await recorded_data(domain, await only_event(store), keys))
    assert (data["recipient"], data["customer"]) == (FORGOTTEN, "17850")


async def test_who_names_no_customer_is_forgotten_with_the_order(handler, store, keys):
    await handler.handle(place(customer=None))
    await keys.forget("1", "olga", "asked")
    assert json.loads(await recorded_data(domain, await only_event(store), keys))["recipient"] == FORGOTTEN


async def test_what_an_older_type_of_event_says_of_a_person_is_opened_and_forgotten_too(handler, store, keys):
    await handler.handle(place())
    events = {name.replace("Placed.v1", "Placed.v3"): model for name, model in domain.events.items()}
    steps = tuple(Upcaster(f"orders.OrderPlaced.v{number}", dict) for number in (1, 2))
    newer, event = replace(domain, events=events, upcasters=steps), await only_event(store)
    assert json.loads(await recorded_data(newer, event, keys))["recipient"] == ANN
    clear = structs.replace(event, data=event.data.replace(b'"Unspecified"', b'"sealed:v1:"'))
    clear = structs.replace(clear, data=json.dumps(json.loads(clear.data) | {"recipient": "Ann"}).encode())
    assert json.loads(await recorded_data(newer, clear, keys))["recipient"] == "Ann"
    await keys.forget("17850", "olga", "asked")
    assert json.loads(await recorded_data(newer, event, keys))["recipient"] == FORGOTTEN


async def test_a_forgotten_customer_who_buys_again_is_known_again_and_the_past_is_not(handler, store, keys):
    await handler.handle(place())
    await keys.forget("17850", "olga", "asked")
    await keys.destroy("17850", {})
    await handler.handle(place("2"))
    old, new = [await recorded_data(domain, event, keys) for event in await store.read_log()]
    assert (json.loads(old)["recipient"], json.loads(new)["recipient"]) == (FORGOTTEN, ANN)


async def test_the_same_command_again_changes_nothing_and_another_recipient_is_refused(handler, store):
    first = await handler.handle(place())
    again = await handler.handle(place())
    assert (again.version, again.repeated, await store.head()) == (first.version, True, 1)
    with pytest.raises(Refused, match="already"):
        await handler.handle(place(recipient="Bob Example"))


async def test_a_refusal_that_is_kept_may_say_what_the_command_said_and_is_sealed_like_it(handler, store, keys):
    await handler.handle(place())
    for _ in range(2):
        with pytest.raises(Refused, match="already"):
            await handler.handle(place(recipient="Bea Muster", idempotency_key="k"))
    _, kept, _ = store._answers["k"]
    assert kept.refusal.decode().startswith(PREFIX)
    await keys.forget("17850", "olga", "asked")
    await keys.destroy("17850", {})
    with pytest.raises(IdempotencyConflict):
        await handler.handle(place(recipient="Bea Muster", idempotency_key="k"))


async def test_a_repeat_with_its_key_gets_its_answer_and_the_fingerprint_is_no_plain_digest(handler, store):
    first = await handler.handle(place(idempotency_key="k"))
    assert await handler.handle(place(idempotency_key="k")) == type(first)(STREAM, 1, 1, repeated=True)
    with pytest.raises(IdempotencyConflict):
        await handler.handle(place(recipient="Bob Example", idempotency_key="k"))
    fingerprint, *_ = store._answers["k"]
    elsewhere = MemoryStore()
    await Handler(domain, elsewhere, keys=MemoryKeys()).handle(place(idempotency_key="k"))
    assert elsewhere._answers["k"][0] != fingerprint


async def test_without_keys_nothing_is_recorded(store):
    with pytest.raises(KeyMissing):
        await Handler(domain, store).handle(place())
    await Handler(domain, store).handle(place(recipient=None))
    assert await store.head() == 1


async def test_a_missing_key_is_loud(handler, store):
    await handler.handle(place())
    state = (await fold(domain, store, STREAM)).state
    for keys in (None, MemoryKeys()):
        with pytest.raises(KeyMissing):
            await bodies([state], keys)


async def test_a_text_that_was_moved_from_another_event_is_found_out(handler, store, keys):
    await handler.handle(place())
    await handler.handle(place("2", "Bob Example"))
    stolen, victim = await store.read_log()
    moved = json.dumps(json.loads(victim.data) | {"recipient": json.loads(stolen.data)["recipient"]}).encode()
    store._streams["orders-2"][0] = forged = type(victim)(
        **{name: getattr(victim, name) for name in victim.__slots__ if name != "data"}, data=moved
    )
    with pytest.raises(UnreadableEvent, match="sealed for event 1 of 'orders-1'"):
        await fold(domain, store, "orders-2")
    with pytest.raises(SealBroken):
        await recorded_data(domain, forged, keys)


async def test_what_only_looks_sealed_in_a_command_is_a_text_like_any_other(handler, store, keys):
    await handler.handle(place())
    stolen = json.loads((await only_event(store)).data)["recipient"]
    await handler.handle(place("2", stolen, "12346"))
    state = (await fold(domain, store, "orders-2")).state
    assert (await plain([state], keys))[0]["recipient"] == stolen


@pytest.mark.parametrize("bad", ["", 7, ["x"], "a\x00b", "x" * 1001, "Weir\x1bLane"])
async def test_a_text_that_is_none_is_refused_without_being_repeated(handler, bad):
    with pytest.raises(InvalidCommand) as error:
        await handler.handle(place(recipient=bad))
    (fault,) = error.value.faults
    assert fault["field"] == "recipient"
    assert "Weir" not in str(error.value)


def test_a_clear_text_shows_itself_to_nobody(caplog):
    command = PlaceOrder.model_validate({**PLACE, "order": "1", "recipient": ANN})
    logging.getLogger("test").warning("%s %r %s", command, command, command.recipient)
    assert "Weir" not in caplog.text + str(command) + repr(command) + str(command.model_dump) + f"{command.recipient}"
    assert "Weir" not in str(command.model_dump())
    with pytest.raises(PydanticSerializationError):
        command.model_dump_json()
    with pytest.raises(PydanticSerializationError):
        command.model_dump(mode="json")


async def test_a_history_keeps_nothing_of_a_person_and_folds_all_the_same(handler, store):
    await handler.handle(place())
    sealed = json.loads((await only_event(store)).data)["recipient"]
    kept = json.loads(json.dumps(record(domain, await store.read_stream(STREAM))))
    assert Sealed.parsed(sealed).box
    assert sealed not in json.dumps(kept)
    assert "Weir" not in json.dumps(kept)
    assert kept["state"]["recipient"].startswith(PREFIX)
    assert list(check(domain, kept)) == []


def test_an_event_takes_no_clear_text_from_its_record():
    class Told(BaseModel):
        about: Personal

    with pytest.raises(ValidationError):
        Told.model_validate_json(json.dumps({"about": ANN}))


def test_a_personal_field_has_a_subject_and_nobody_can_look_for_it():
    with pytest.raises(NotADomain):
        type("Tell", (Command,), {"__annotations__": {"about": Personal}})
    with pytest.raises(NotADomain):
        type("Tell", (Command,), {"__annotations__": {"about": Annotated[Personal, Of("nobody")]}})
    with pytest.raises(NotADomain):
        View("by-recipient", Order, "order", lambda event: event.order, order_details, ("recipient",))
