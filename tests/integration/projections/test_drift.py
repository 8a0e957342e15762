"""A view that is not what the store says is named: row, column, and since when."""

import asyncio
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from itertools import count

import psycopg
import pytest
from msgspec import structs
from rich.console import Console
from typer.testing import CliRunner

from domains.codec import decode
from domains.handler import Handler, Request
from domains.orders import domain
from eventstore.memory import MemoryStore
from infra.health import Health
from infra.partitions import partition_of
from projections import commands, verify_commands
from projections.metrics import DRIFT_ROWS
from projections.placed import Placed
from projections.postgres import PostgresDatabase
from projections.projector import Projector
from projections.refolding.drift import Drift, Frozen, Verified, note, sample, verify
from projections.refolding.sampling import ROWS, Sampler
from projections.serving.views import Views

LINE = {"sku": "85123A", "quantity": 40, "unit_price": "2.55"}
DETAILS, COUNTRIES, CUSTOMERS = domain.views
LATE = {"placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE]}
PLACES = ["France", "EIRE", "United Kingdom"]


@pytest.fixture
async def store():
    """Ten orders; of three of them some lines came back."""
    store = MemoryStore()
    handler = Handler(domain, store)
    for number in range(10):
        of = {"country": PLACES[number % 3], "customer": "17850"}
        placed = {"placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE], **of}
        await handler.handle(Request(str(number), "place", json.dumps(placed).encode()))
    for number in range(3):
        back = {"returned_at": "2010-12-02T08:26:00Z", "currency": "GBP", "lines": [LINE | {"quantity": 1}]}
        await handler.handle(Request(str(number), "return", json.dumps(back).encode()))
    return store


def arrived(event):
    lane = partition_of(event.stream.encode(), domain.partitions)
    return Placed.of(lane, event.position, event, decode(domain, event))


async def project(conninfo, events):
    database = PostgresDatabase(conninfo, domain)
    for event in events:
        await Projector(domain.views, database).apply([arrived(event)])
    await database.close()


@pytest.fixture
async def live(read_database, store):
    """The views of it all, on PostgreSQL."""
    conninfo = read_database[1]
    await project(conninfo, await store.read_log())
    return conninfo


async def verified(conninfo, store, view=DETAILS, most=None):
    async with Frozen.open(conninfo) as frozen:
        return await verify(domain, view, store, frozen, most=most, progress=lambda *_: None)


def change(conninfo, statement):
    with psycopg.connect(conninfo, autocommit=True) as connection:
        assert connection.execute(statement).rowcount > 0


@pytest.mark.parametrize("view", domain.views, ids=lambda view: view.name)
async def test_views_that_are_what_the_store_says_are_right(live, store, view):
    found = await verified(live, store, view)
    assert (found.events, found.position, found.drift) == (13, 13, [])
    assert found.rows == {DETAILS: 10, COUNTRIES: 3, CUSTOMERS: 1}[view]


async def test_a_changed_column_is_named(live, store):
    change(live, "UPDATE order_details_v2 SET status = 'cancelled' WHERE \"order\" = '7'")
    (drift,) = (await verified(live, store)).drift
    assert drift == Drift("7", "status", "cancelled", "placed", None)


async def test_a_row_that_is_gone_and_one_that_was_never_made_are_named(live, store):
    change(live, "DELETE FROM order_details_v2 WHERE \"order\" = '7'")
    change(live, "UPDATE order_details_v2 SET \"order\" = 'x' WHERE \"order\" = '8'")
    drift = {one.key: (one.live, one.folded, one.since) for one in (await verified(live, store)).drift}
    assert drift == {"7": (None, "7", 8), "8": (None, "8", 9), "x": ("x", None, None)}


async def test_an_event_that_was_left_out_is_named_by_its_position(read_database, store):
    handler = Handler(domain, store)
    for number in range(20, 40):
        placed = {"placed_at": "2010-12-03T08:26:00Z", "currency": "GBP", "lines": [LINE]}
        await handler.handle(Request(str(number), "place", json.dumps(placed).encode()))
    await project(read_database[1], [event for event in await store.read_log() if event.position != 12])
    found = await verified(read_database[1], store)
    assert {one.key for one in found.drift} == {"1"}
    assert {one.since for one in found.drift} == {12}


async def test_an_event_that_was_folded_twice_is_named_by_its_position(read_database, store):
    events = await store.read_log()
    twice = structs.replace(events[12], position=13 + domain.partitions)
    assert twice.type == "orders.LinesReturned.v1"
    await project(read_database[1], [*events, twice])
    for view, key, column in ((DETAILS, "2", "credited"), (COUNTRIES, "United Kingdom", "returns")):
        found = await verified(read_database[1], store, view)
        assert {(one.key, one.since, one.how) for one in found.drift} == {(key, 13, "folded twice")}
        assert column in {one.column for one in found.drift}


async def test_an_event_that_was_left_out_of_the_midst_of_a_row_is_named_by_its_position(read_database, store):
    handler = Handler(domain, store)
    for number in range(20, 23):
        placed = {"placed_at": "2010-12-03T08:26:00Z", "currency": "GBP", "lines": [LINE], "country": "EIRE"}
        await handler.handle(Request(str(number), "place", json.dumps(placed).encode()))
    await project(read_database[1], [event for event in await store.read_log() if event.position != 12])
    found = await verified(read_database[1], store, COUNTRIES)
    assert {(one.key, one.since, one.how) for one in found.drift} == {("EIRE", 12, "left out")}


class Sampled:
    """The views as a sampler sees them."""

    def __init__(self, conninfo, store):
        self.views = Views(conninfo, domain)
        self.sampler = Sampler(domain, store, PostgresDatabase(conninfo, domain), rate=1e6)

    async def comes_to(self, wanted):
        """So many rows of each view are known to be wrong, in the database and in the metrics."""
        async with asyncio.timeout(20):
            while (await self.views.drift(), self.metrics()) != (wanted, wanted):
                continue

    def metrics(self):
        told = {view.name: DRIFT_ROWS.labels(domain.name, view.name)._value.get() for view in domain.views}
        return {name: rows for name, rows in told.items() if rows}


@pytest.fixture
async def sampled(live, store):
    sampled = Sampled(live, store)
    await sampled.views.open()
    async with sampled.sampler.running(Health()):
        yield sampled
    await sampled.views.close()


async def test_rows_that_are_wrong_missing_or_invented_are_found_in_the_running_system_and_forgotten_once_right(
    sampled, live, store
):
    change(live, "UPDATE order_details_v2 SET status = 'no status at all' WHERE \"order\" = '7'")
    change(live, "DELETE FROM order_details_v2 WHERE \"order\" = '8'")
    change(live, "UPDATE order_details_v2 SET \"order\" = 'x y' WHERE \"order\" = '9'")
    change(live, "UPDATE sales_by_country_v1 SET orders = orders + 1 WHERE country = 'EIRE'")
    await sampled.comes_to({DETAILS.name: 4, COUNTRIES.name: 1})
    with psycopg.connect(live) as connection:
        [[columns]] = connection.execute("SELECT columns FROM drift WHERE key = '7'").fetchall()
    assert columns == "status"
    # Events that are not folded yet, and keys that are parked, are no drift.
    await Handler(domain, store).handle(Request("late", "place", json.dumps(LATE).encode()))
    change(live, "INSERT INTO parked VALUES ('order_details_v2', '7', false, 7, 'orders-7', 1, 't', 'no', now(), 1)")
    change(live, "UPDATE sales_by_country_v1 SET orders = orders - 1 WHERE country = 'EIRE'")
    change(live, "UPDATE order_details_v2 SET \"order\" = '9' WHERE \"order\" = 'x y'")
    change(live, "DELETE FROM drift WHERE key = '7'")
    await sampled.comes_to({DETAILS.name: 1})


class Late(MemoryStore):
    """A store that lets something happen before it first answers what a stream holds."""

    def __init__(self, events, happens):
        super().__init__()
        self.events, self.happens = events, happens

    async def read_log(self, **_):
        return []

    async def read_stream(self, stream, **_):
        if self.happens is not None:
            happens, self.happens = self.happens, None
            await happens()
        return [event for event in self.events if event.stream == stream]


async def test_a_sample_takes_nothing_back_that_was_noted_after_it_was_taken(live, store):
    database, views = PostgresDatabase(live, domain), Views(live, domain)
    await views.open()

    async def wrong_from_now_on():
        change(live, "UPDATE order_details_v2 SET status = 'cancelled' WHERE \"order\" = '7'")
        found = await verified(live, store)
        async with database.transaction() as transaction:
            await note(transaction.execute, DETAILS, found.at, {"7": ["status"]}, None)

    sampler = Sampler(domain, Late(await store.read_log(), wrong_from_now_on), database, rate=1e6)
    try:
        assert await sampler.once(DETAILS) == 1
        assert await views.drift() == {DETAILS.name: 1}
        # A look that began before a note leaves it as well; one that began later takes it back.
        before = await verified(live, store)
        change(live, "UPDATE order_details_v2 SET status = 'placed' WHERE \"order\" = '7'")
        change(live, "UPDATE drift SET seen_at = now()")
        for found, left in ((before, {DETAILS.name: 1}), (await verified(live, store), {})):
            async with database.transaction() as transaction:
                await note(transaction.execute, DETAILS, found.at, {}, None)
            assert await views.drift() == left
    finally:
        await views.close()
        await database.close()


async def test_a_row_that_is_parked_keeps_its_note_and_takes_nobodys_place(sampled, live, store):
    park = "INSERT INTO parked VALUES ('order_details_v2', '{}', false, 7, 'orders-7', 1, 't', 'no', now(), 1)"
    note_of = "INSERT INTO drift VALUES ('order_details_v2', '{}', 'status', now(), now() - interval '1 h')"
    for number in range(ROWS):
        change(live, note_of.format(f"gone-{number}"))
        change(live, park.format(f"gone-{number}"))
    change(live, note_of.format("7"))
    await sampled.comes_to({DETAILS.name: ROWS})
    database, found = PostgresDatabase(live, domain), await verified(live, store)
    async with database.transaction() as transaction:
        await note(transaction.execute, DETAILS, found.at, {}, None)
    await database.close()
    assert await sampled.views.drift() == {DETAILS.name: ROWS}


async def test_what_is_not_folded_yet_is_no_drift(live, store):
    handler = Handler(domain, store)
    await handler.handle(Request("late", "place", json.dumps(LATE).encode()))
    found = await verified(live, store)
    assert (found.events, found.drift) == (13, [])


async def test_a_sample_is_about_as_large_as_asked_and_finds_what_it_holds(live, store):
    change(live, "UPDATE order_details_v2 SET total = 0")
    found = await verified(live, store, most=4)
    assert 0 < found.rows < 10
    assert len({one.key for one in found.drift}) == found.rows
    chosen = sample(1000, 100_000)
    assert 800 < sum(chosen(str(number)) for number in range(100_000)) < 1200


@pytest.mark.parametrize(("drift", "code"), [(False, 0), (True, 5)])
def test_the_command_ends_with_5_when_something_differs(monkeypatch, drift, code):
    found = Verified("orders/order-details", datetime.now(UTC), 10, 13, 13, [])
    if drift:
        found = replace(found, drift=[Drift("7", "status", "cancelled", "placed", 8, "left out")])

    async def one(*_):
        return found

    monkeypatch.setattr(verify_commands, "one", one)
    done = CliRunner().invoke(commands.app, ["projection", "verify", "order-details", "--json"])
    assert (done.exit_code, len(json.loads(done.stdout)["views"][0]["drift"])) == (code, int(drift))
    plain = CliRunner().invoke(commands.app, ["projection", "verify", "order-details"])
    assert all((told in plain.stdout) is drift for told in ("cancelled", "left out"))


def test_an_unknown_view_is_said():
    done = CliRunner().invoke(commands.app, ["projection", "verify", "nothing"])
    assert (done.exit_code, "Traceback" in done.output) == (3, False)


def test_a_bar_says_how_far_and_how_fast_it_is_and_when_it_will_end(monkeypatch):
    shown, clock = StringIO(), count()
    person = Console(file=shown, force_terminal=True, width=160, get_time=lambda: float(next(clock)))
    monkeypatch.setattr(verify_commands, "err", person)
    with verify_commands.bar("order-details") as tell:
        for done in range(0, 60, 10):
            tell(done, 100)
    last = shown.getvalue()
    assert "50/100" in last
    assert re.search(r"\d/s", last)
    assert re.search(r"\d:\d\d:\d\d", last)
