"""Rows and events that today's code can't read hold up nobody but their own key."""

import json

import pytest

from domains.handler import Handler, Request
from domains.orders import domain
from projections.errors import RebuildRefused
from projections.parking import Spot, Waiting
from projections.postgres import PostgresDatabase
from projections.publish import LARGEST_ROW, fits
from projections.refolding.replay import Which, replay
from projections.refolding.sampling import Sampler

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
