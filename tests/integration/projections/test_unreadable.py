"""Rows and events that today's code can't read hold up nobody but their own key."""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from msgspec import structs
from typer.testing import CliRunner

from domains.admin import EventSkipped
from domains.handler import Handler, Request
from domains.orders import domain
from eventstore.errors import StoreUnavailable
from eventstore.relay import IN_FLIGHT
from projections.errors import ReadUnavailable, RebuildFailed, RebuildRefused
from projections.lanes.progress import UpToTheStore
from projections.parking import EventPlace, Skip, Spot, Waiting
from projections.postgres import PostgresDatabase
from projections.publish import LARGEST_ROW, fits
from projections.rebuild_commands import take_out
from projections.refolding import effects
from projections.refolding.rebuild import rebuild
from projections.refolding.replay import Which, replay
from projections.refolding.republish import Republisher
from projections.refolding.sampling import ROWS, Sampler
from projections.refolding.why import why
from projections.rows import MemoryDatabase
from projections.verify_commands import projection
from projections.worker import Worker

DETAILS = domain.views[0]
CANCEL = json.dumps({"cancelled_at": "2010-12-02T00:00:00Z"}).encode()


async def cancel(system, *orders):
    for order in orders:
        await Handler(domain, system.store).handle(Request(order, "cancel", CANCEL))


async def test_a_row_that_can_t_be_read_parks_its_key_and_all_others_go_on(system):
    assert system.execute("UPDATE order_details_v2 SET status = 'nonsense' WHERE \"order\" = '7'") == 1
    await cancel(system, "7", "8", "9")
    await system.project()
    rows = dict(system.execute("SELECT \"order\", status FROM order_details_v2 WHERE \"order\" IN ('7', '8', '9')"))
    assert rows == {"7": "nonsense", "8": "cancelled", "9": "cancelled"}
    database = PostgresDatabase(system.reader, domain)
    async with database.transaction() as transaction:
        (parked,) = await transaction.parking(DETAILS).spots()
    await database.close()
    assert parked.spot == Spot("7")
    assert "its row can't be read by today's code: status" in parked.error


async def test_what_waits_with_its_stream_is_no_drift_and_keeps_nobody_from_looking(system):
    known = {name: kind for name, kind in domain.events.items() if "OrderCancelled" not in name}
    older = replace(domain, events=known)
    await cancel(system, "7")
    await system.project(older)
    assert system.execute("SELECT name, of_stream FROM parked WHERE view = 'order_details_v2'") == [("orders-7", True)]
    sampler = Sampler(older, system.store, PostgresDatabase(system.reader, older), 1e6)
    try:
        assert await system.drift(older) == []
        for _ in range(200 // ROWS):
            assert await sampler.once(DETAILS) == 0
        # A row of that stream is compared all the same, with what was folded before.
        assert system.execute("UPDATE order_details_v2 SET total = 1 WHERE \"order\" = '7'") == 1
        assert {(one.key, one.column) for one in await system.drift(older)} == {("7", "total")}
        assert max([await sampler.once(DETAILS) for _ in range(200 // ROWS + 1)]) == 1
    finally:
        await sampler.database.close()


async def test_what_only_has_the_position_of_another_event_does_not_take_that_out(system):
    (real,) = await system.store.read_stream("orders-7")
    forged = structs.replace(real, stream="orders-8", version=9)
    spot = Spot("orders-8", of_stream=True)
    database = PostgresDatabase(system.reader, domain)
    async with database.transaction() as transaction:
        parking = transaction.parking(DETAILS)
        await parking.park([Waiting(spot, forged, "unreadable")])
        assert await system.drift() == []
        await parking.skip(Skip(spot, forged, "unreadable", "ann", "a test", datetime.now(UTC)))
        await parking.free(spot)
    await database.close()
    assert await system.drift() == []
    async with system.standing() as standing:
        assert (await rebuild(standing, DETAILS, system.store)).changed == 0
    # Also as those are kept that were parked or skipped before their streams stood beside them.
    system.execute("UPDATE skips SET stream = NULL")
    assert await system.drift() == []


async def test_a_replay_waits_for_streams_that_are_parked(system):
    (event,) = await system.store.read_stream("orders-7")
    database = PostgresDatabase(system.reader, domain)
    async with database.transaction() as transaction:
        await transaction.parking(DETAILS).park([Waiting(Spot("orders-7", of_stream=True), event, "unreadable then")])
    await database.close()
    async with system.standing() as standing:
        with pytest.raises(RebuildRefused, match="orders-7"):
            await replay(standing, DETAILS, system.store, Which(keys=("7", "8")))


async def test_the_sampler_goes_on_past_an_event_whose_key_can_t_be_told(system, monkeypatch):
    def strange(event):
        return None if event.order == "3" else 7 if event.order == "5" else {}[event.order]

    sampler = Sampler(domain, system.store, PostgresDatabase(system.reader, domain), 600)
    monkeypatch.setattr(type(DETAILS), "key_of", property(lambda _: strange), raising=False)
    try:
        assert await sampler._touched(DETAILS) == set()
    finally:
        await sampler.database.close()


async def test_nothing_is_fresh_before_all_that_the_store_has_is_folded(system):
    database, head = PostgresDatabase(system.reader, domain), await system.store.head()

    async def noted(beyond):
        system.execute("TRUNCATE freshness")
        await database.fresh(range(domain.partitions), head + beyond)
        return system.execute("SELECT count(*) FROM freshness")[0][0]

    assert [await noted(beyond) for beyond in (0, 1, -1)] == [domain.partitions, 0, domain.partitions]
    await database.close()


def test_a_row_that_kafka_would_never_take_is_left_out():
    assert fits("views", b"a", None)
    assert fits("views", b"a", b"x" * (LARGEST_ROW - 1))
    assert not fits("views", b"a", b"x" * LARGEST_ROW)


def failing(order):
    """The orders, with a view that can't fold one of them."""

    def project(row, event):
        return {}[order] if event.order == order else DETAILS.project(row, event)

    return replace(domain, views=(replace(DETAILS, project=project), *domain.views[1:]))


class Told:
    """A publisher that at first can't tell what was skipped."""

    def __init__(self):
        self.away, self.events = True, []

    async def rows(self, *_):
        pass

    async def skips(self, events):
        self.events += events
        if self.away:
            raise ReadUnavailable("no broker")


async def told_once(system, event):
    """A skip is told as an event, and as the same one after a failure."""
    publisher = Told()
    republisher = Republisher(domain, system.reader, publisher)
    with pytest.raises(ReadUnavailable):
        await republisher.once()
    publisher.away = False
    assert [await republisher.once(), await republisher.once()] == [1, 0]
    await republisher.close()
    first, second = publisher.events
    assert first == second
    assert (first.type, first.stream, first.version) == ("orders.EventSkipped.v1", event.stream, event.version)
    fact = EventSkipped.model_validate_json(first.data)
    assert (fact.view, fact.view_version, fact.position, fact.why) == (
        DETAILS.name,
        DETAILS.version,
        event.position,
        "it was a test",
    )
    assert fact.who == first.metadata.actor


async def test_an_event_that_no_version_can_be_built_with_is_left_out_by_who_says_so(system):
    declared = failing("3")
    view = declared.views[0]
    async with system.standing(declared) as standing:
        with pytest.raises(RebuildFailed, match="KeyError"):
            await rebuild(standing, view, system.store)
        with pytest.raises(RebuildRefused, match="no event at position 10000"):
            await take_out(standing, view, system.store, [10_000], "a test")
        (event,) = await system.store.read_stream("orders-3")
        for _ in range(2):
            await take_out(standing, view, system.store, [event.position], "it was a test")
        await rebuild(standing, view, system.store)
        assert await standing.skipped(view) == {EventPlace(event.position, event.stream)}
    assert system.execute("SELECT count(*) FROM order_details_v2") == [(199,)]
    assert system.execute("SELECT position, why FROM skips") == [(event.position, "it was a test")]
    await told_once(system, event)
    assert await why(declared, view, system.store, "3", {EventPlace(event.position, event.stream)}) == []
    with pytest.raises(RebuildFailed, match="KeyError"):
        await why(declared, view, system.store, "3")


@pytest.mark.parametrize("swallows", [False, True])
def test_a_fold_that_must_be_waited_for_has_no_effects_either(tmp_path, swallows):
    def project(_row, _event):
        with suppress(effects.Reached if swallows else KeyError):
            (tmp_path / "written").write_text("by a fold")

    view = effects.guarded(replace(DETAILS, project=project))
    with pytest.raises(effects.Reached, match="written"):
        view.project(None, None)
    assert not (tmp_path / "written").exists()
    project(None, None)
    assert (tmp_path / "written").exists()


class Store:
    """Says how far it is, or that it is down."""

    def __init__(self, head):
        self.at = head

    async def head(self):
        if self.at is None:
            raise StoreUnavailable("it is down")
        return self.at


class Noted:
    def __init__(self):
        self.told = []

    async def fresh(self, partitions, head):
        self.told.append(([*partitions], head))
        return 3


@pytest.mark.parametrize(("head", "told"), [(17, ([0, 2], 17)), (None, ([], 0))])
async def test_while_the_store_is_down_nothing_is_called_fresh_and_nothing_fails(head, told):
    noted = Noted()
    assert await UpToTheStore(noted, Store(head)).fresh([0, 2]) == 3
    assert noted.told == [told]


@pytest.mark.parametrize(("head", "most"), [(17, 17), (None, 100 + IN_FLIGHT)])
async def test_no_position_is_believed_beyond_what_the_store_has_or_else_the_topic(head, most):
    async def published():
        return 100

    worker = Worker(domain, MemoryDatabase(domain.partitions), None, None, lambda: None, head=Store(head).head)
    assert await worker._bound(published) == most


def test_who_leaves_an_event_out_of_a_rebuild_says_why():
    done = CliRunner().invoke(projection, ["rebuild", "orders/order-details", "--skip", "3"])
    assert (done.exit_code, "say why" in done.output) == (2, True)
