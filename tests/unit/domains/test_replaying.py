"""A stream is replayed up to where a person says, goes on as events come, and tells what changed in its state."""

import asyncio
import io
import json
from contextlib import aclosing

import pytest
from rich.console import Console

from domains import commands
from domains.codec import decode
from domains.handler import Handler, Request
from domains.opening import plain
from domains.orders import domain
from domains.replaying import Change, End, changed, replayed
from eventstore.memory import MemoryStore

LINE = {"sku": "85123A", "quantity": 6, "unit_price": "2.55"}
BACK = {"sku": "85123A", "description": "", "quantity": 1, "unit_price": "2.55"}
ANOTHER = {"customer": "1", "placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE]}
STREAM = "orders-7"


async def command(store, name, **body):
    await Handler(domain, store).handle(Request("7", name, json.dumps(body).encode()))


@pytest.fixture
async def store():
    """An order of two lines, of which some came back twice."""
    store = MemoryStore()
    lines = [LINE, LINE | {"sku": "71053"}]
    await command(store, "place", customer="17850", placed_at="2010-12-01T08:26:00Z", currency="GBP", lines=lines)
    for day in (2, 3):
        back = [LINE | {"quantity": 1}]
        await command(store, "return", returned_at=f"2010-12-0{day}T08:26:00Z", currency="GBP", lines=back)
    return store


@pytest.mark.parametrize(
    ("until", "version"),
    [
        ("1", 1),
        ("2", 2),
        ("9", 3),
        ("LinesReturned", 2),
        ("orders.LinesReturned.v1", 2),
        ("OrderCancelled", 3),
        ("2010-12-02", 1),
        ("2010-12-02T08:26:00Z", 2),
        ("2010-12-02T09:25:59+01:00", 1),
        ("2009-01-01", 0),
    ],
)
async def test_a_replay_ends_at_a_version_an_event_or_a_time(store, until, version):
    pages = [page async for page in replayed(store, STREAM, [End.of(domain, until)])]
    assert [event.version for page in pages for event in page] == list(range(1, version + 1))


@pytest.mark.parametrize("text", ["OrderTeleported", "orders.LinesReturned.v9", "0", "-1", "", "32 December"])
def test_an_end_that_is_none_is_refused_with_the_events_that_there_are(text):
    with pytest.raises(
        ValueError, match=r"no event of orders: CreditNoteIssued, LinesReturned, OrderCancelled, OrderPlaced"
    ):
        End.of(domain, text)


async def test_the_first_of_several_ends_counts(store):
    ends = [End.of(domain, "3"), End.of(domain, "LinesReturned"), End()]
    assert [[event.version for event in page] async for page in replayed(store, STREAM, ends)] == [[1, 2]]


async def test_who_follows_gets_what_is_there_and_then_what_comes_up_to_the_end(store):
    async with aclosing(replayed(store, STREAM, [End.of(domain, "OrderCancelled")], follow=True)) as pages:
        assert [event.version for event in await anext(pages)] == [1, 2, 3]
        coming = asyncio.ensure_future(anext(pages))
        await Handler(domain, store).handle(Request("8", "place", json.dumps(ANOTHER).encode()))
        assert not coming.done()
        await command(store, "cancel", cancelled_at="2010-12-04T08:26:00Z")
        assert [event.version for event in await asyncio.wait_for(coming, 5)] == [4]
        with pytest.raises(StopAsyncIteration):
            await anext(pages)


async def test_what_changed_is_told_field_by_field(store):
    version, later, found = await changed(domain, store, None, STREAM, 1)
    assert (version, [event.version for event in later]) == (3, [2, 3])
    assert found == [
        Change("changed_at", "2010-12-01T08:26:00Z", "2010-12-03T08:26:00Z"),
        Change("credited", "0.00", "5.10"),
        Change("returned[0]", None, BACK),
        Change("returned[1]", None, BACK),
        Change("status", "placed", "partly-returned"),
    ]
    assert await changed(domain, store, None, STREAM, 3) == (3, [], [])
    _, _, at_first = await changed(domain, store, None, STREAM, 0, [End(version=1)])
    assert {change.field: change.became for change in at_first}["status"] == "placed"


@pytest.mark.parametrize("terminal", [True, False])
async def test_colours_are_for_people_only(store, monkeypatch, terminal):
    said = io.StringIO()
    monkeypatch.setattr(commands, "out", Console(file=said, force_terminal=terminal, soft_wrap=True, highlight=False))
    [event, *_] = await store.read_stream(STREAM)
    [data] = await plain([decode(domain, event)], None)
    commands.show_event(event, data, as_json=False)
    assert ("\x1b[" in said.getvalue()) is terminal
    if not terminal:
        first, _, rest = said.getvalue().partition("\n")
        assert first == "   1  2010-12-01 08:26:00  orders.OrderPlaced.v1  position 1"
        assert json.loads(rest) == data
