"""Views as they were, and why they are as they are: what the store says, event by event."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO

import psycopg
import pytest
import typer
from msgspec import structs
from rich.console import Console

from domains.codec import decode
from domains.errors import UnreadableEvent
from domains.handler import Handler, Request
from domains.orders import domain
from eventstore.memory import MemoryStore
from eventstore.records import Append, BareEvent, Metadata, NewEvent, NoStream
from infra.web import Problem
from projections import why_commands
from projections.errors import BeyondReach, FoldsWait, RebuildFailed, RebuildRefused
from projections.paging import Place
from projections.refolding.why import why
from projections.serving.past import MOST_WAITING, Past, position_at
from projections.serving.service import problems

DETAILS, COUNTRIES, CUSTOMERS = domain.views
LINE = {"sku": "85123A", "quantity": 40, "unit_price": "2.55"}
PLACED = {"placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE], "customer": "17850"}
BACK = {"returned_at": "2010-12-02T08:26:00Z", "currency": "GBP", "lines": [LINE | {"quantity": 1}]}


@pytest.fixture
async def store():
    store = MemoryStore()
    handler = Handler(domain, store)
    for number in range(12):
        id, country = str(number % 8), ["France", "EIRE"][number % 8 % 2]
        name, body = ("place", PLACED | {"country": country}) if number < 8 else ("return", BACK)
        told = Metadata(actor=f"actor-{number}", request_id=f"request-{number}")
        await handler.handle(Request(id, name, json.dumps(body).encode(), metadata=told))
    return store


async def folded(store, view, count):
    rows = {}
    for event in (await store.read_log())[:count]:
        fact = decode(domain, event)
        key = view.key_of(fact)
        rows[key] = view.project(rows.get(key), fact)
    return dict(sorted(rows.items()))


@pytest.mark.parametrize("view", domain.views, ids=lambda view: view.name)
async def test_each_moment_is_as_it_was(store, view):
    past = Past(domain, store)
    for count, event in enumerate(await store.read_log(), 1):
        expected = await folded(store, view, count)
        assert await past.page(view, {}, Place(), 100, event.recorded_at) == (list(expected.values()), count)
        for key, row in expected.items():
            assert (await past.one(view, key, event.recorded_at))[0] == row
        assert (await past.one(view, "nobody", event.recorded_at))[0] is None


async def test_before_the_first_event_there_is_nothing(store):
    before = (await store.read_log())[0].recorded_at - timedelta(microseconds=1)
    past = Past(domain, store)
    assert await position_at(store, before) == 0
    assert await past.page(COUNTRIES, {}, Place(), 10, before) == ([], 0)
    assert await past.one(DETAILS, "0", before) == (None, 0)


async def test_a_list_is_filtered_and_goes_on_behind_a_key(store):
    past, now = Past(domain, store), datetime.now(UTC)
    rows, _ = await past.page(DETAILS, {"country": "EIRE"}, Place(key="3"), 1, now)
    assert [row.order for row in rows] == ["5"]


async def test_a_fold_is_bounded_and_a_row_of_one_stream_needs_little(store):
    past, now = Past(domain, store, most=5), datetime.now(UTC)
    with pytest.raises(BeyondReach, match="at most 5 events, and until then there were 12"):
        await past.page(COUNTRIES, {}, Place(), 10, now)
    assert (await past.one(DETAILS, "1", now))[0].order == "1"
    with pytest.raises(BeyondReach, match="at most 1 events"):
        await Past(domain, store, most=1).one(DETAILS, "1", now)


async def test_a_fold_is_kept(store, monkeypatch):
    past, now = Past(domain, store), datetime.now(UTC)
    first = await past.page(COUNTRIES, {}, Place(), 10, now)

    async def refuse(*_):
        raise AssertionError

    monkeypatch.setattr("projections.serving.past.Refold.rows", refuse)
    assert await past.page(COUNTRIES, {}, Place(), 10, now) == first


async def test_a_fold_of_before_an_event_was_left_out_is_not_answered_with(store):
    taken_out = set()

    async def skipped(_):
        return frozenset(taken_out)

    past, now = Past(domain, store, skipped), datetime.now(UTC)
    before, _ = await past.page(COUNTRIES, {}, Place(), 10, now)
    taken_out.add((1, "orders-0"))  # of France
    after, _ = await past.page(COUNTRIES, {}, Place(), 10, now)
    assert {row.country: row.orders for row in before} == {"EIRE": 4, "France": 4}
    assert {row.country: row.orders for row in after} == {"EIRE": 4, "France": 3}


async def test_questions_that_would_wait_too_long_are_turned_away(store):
    past, now = Past(domain, store), datetime.now(UTC)
    async with past._turn:
        past._waiting = MOST_WAITING
        with pytest.raises(FoldsWait):
            await past.page(COUNTRIES, {}, Place(), 10, now)


async def test_each_column_names_the_event_that_set_it_last(store):
    causes = {cause.column: cause for cause in await why(domain, DETAILS, store, "2")}
    placed, returned = causes["placed_at"], causes["status"]
    assert (placed.position, placed.version, placed.type) == (3, 1, "orders.OrderPlaced.v1")
    assert (returned.position, returned.version, returned.type) == (11, 2, "orders.LinesReturned.v1")
    assert (placed.before, returned.before) == (None, "placed")
    assert (returned.metadata.actor, returned.metadata.request_id) == ("actor-10", "request-10")
    assert (placed.command, returned.command) == ("place", "return")
    assert set(causes) == set(DETAILS.row.model_fields)


@pytest.mark.parametrize("causation", [None, "9f0d8e0e-5f0a-4d7e-a8a2-0d6f3f1f5f5b", "import/7"])
async def test_a_command_is_told_only_of_events_that_came_of_one(store, monkeypatch, causation):
    (event,) = await store.read_stream("orders-7")
    told = structs.replace(event, metadata=Metadata(causation_id=causation))
    recorded = MemoryStore()
    await recorded.append(Append("orders-7", [NewEvent(told.type, told.data, told.time, told.metadata)], NoStream()))
    assert {cause.command for cause in await why(domain, DETAILS, recorded, "7")} == {None}
    causes = await why(domain, DETAILS, store, "7")
    terminal = Console(file=StringIO(), width=80)
    monkeypatch.setattr(why_commands, "out", terminal)
    why_commands.show(causes)
    assert "    command     place\n" in terminal.file.getvalue()
    assert {why_commands.as_json_has(cause)["command"] for cause in causes} == {"place"}


async def test_a_shared_row_is_explained_by_events_of_several_streams(store):
    causes = {cause.column: cause for cause in await why(domain, COUNTRIES, store, "EIRE")}
    assert (causes["orders"].stream, causes["returns"].stream) == ("orders-7", "orders-3")
    assert (causes["orders"].before, causes["orders"].after) == (3, 4)


async def test_a_row_that_is_not_there_has_no_cause(store):
    assert await why(domain, DETAILS, store, "nobody") == []


async def test_an_event_that_cannot_be_folded_is_named(store):
    def project(row, event):
        return DETAILS.project(row, event) if row is None else 1 / 0

    broken = replace(DETAILS, project=project)
    past, now = Past(domain, store), datetime.now(UTC)
    for question in (past.one(broken, "1", now), past.page(broken, {}, Place(), 10, now)):
        with pytest.raises(RebuildFailed, match=r"order-details fails on event 2 of stream 'orders-[01]'"):
            await question
    assert (await past.one(broken, "7", now))[0].order == "7"


@pytest.mark.parametrize(
    "error",
    [
        RebuildFailed("v", BareEvent(7, "orders-1", 2, "t", datetime.now(UTC), b""), "s3cret"),
        UnreadableEvent("orders-1", 2, "s3cret"),
        RebuildRefused("s3cret"),
    ],
)
async def test_whoever_asks_is_told_so_and_nothing_of_what_broke(error):
    with pytest.raises(Problem) as problem:
        async with problems():
            raise error
    assert (problem.value.status_code, problem.value.type) == (500, "fold-failed")
    assert b"s3cret" not in problem.value.body("")


async def test_a_view_that_reaches_for_what_nobody_watches_has_a_past_that_is_refused(store):
    def project(row, event):
        return DETAILS.project(row, event) if psycopg is not None else None

    reaching = replace(DETAILS, project=project)
    with pytest.raises(Problem, match="may not be folded anew") as problem:
        async with problems():
            await Past(domain, store).one(reaching, "1", datetime.now(UTC))
    assert (problem.value.status_code, problem.value.type) == (500, "fold-failed")


def test_why_says_what_it_is_that_such_a_view_reaches(monkeypatch, capsys):
    async def found(*_):
        raise RebuildRefused("order-details reaches project.psycopg")

    monkeypatch.setattr(why_commands, "found", found)
    with pytest.raises(typer.Exit):
        why_commands.why("orders/order-details/1")
    assert "reaches project.psycopg" in capsys.readouterr().err


async def test_an_event_whose_key_fails_is_named(store):
    unable = replace(DETAILS, key_of=lambda _: {}["key"])
    for asked in (Past(domain, store).one(unable, "0", datetime.now(UTC)), why(domain, unable, store, "0")):
        with pytest.raises(RebuildFailed, match=r"fails on event 1 of stream 'orders-0', position 1: KeyError"):
            await asked
