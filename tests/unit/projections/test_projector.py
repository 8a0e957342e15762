"""The fold-and-commit core on the read database in memory: any batches, any repeats, any interleaving."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domains.codec import encode
from domains.kernel import Decider, Domain, Event, Row, View
from domains.orders import domain as orders
from domains.orders.events import OrderPlaced
from domains.orders.values import Line
from eventstore.records import Metadata, RecordedEvent
from infra.partitions import partition_of
from projections.errors import Fenced
from projections.placed import Placed
from projections.projector import Projector
from projections.rows import Mark, MemoryDatabase, Move

START = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


def placed(position, order, quantity=1, customer="17850", domain=orders):
    line = Line(sku="85123A", quantity=quantity, unit_price="2.55")
    at = START + timedelta(minutes=position)
    event = OrderPlaced(
        occurred_at=at,
        order=order,
        customer=customer,
        country="United Kingdom",
        currency="GBP",
        lines=(line,),
        total=quantity * Decimal("2.55"),
    )
    recorded = of(domain, event, f"orders-{order}", position)
    return Placed.of(partition_of(recorded.stream.encode(), domain.partitions), position, recorded, event)


def of(domain, event, stream, position):
    told = encode(domain, event, stream, 1, Metadata())
    return RecordedEvent(position, stream, 1, told.id, told.type, told.time, told.time, told.data, told.metadata)


def plain_fold(events):
    rows = {view.name: {} for view in orders.views}
    for each in events:
        for view in orders.views:
            if (key := view.key_of(each.event)) is not None:
                rows[view.name][key] = view.project(rows[view.name].get(key), each.event)
    return rows


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from([None, "17850", "13047"])), min_size=1, max_size=30),
    st.integers(0, 2**32),
)
async def test_any_batches_repeats_and_interleaving_of_partitions_give_the_rows_of_one_plain_fold(told, seed):
    random = Random(seed)
    events = [placed(number, f"o{number}", quantity, who) for number, (quantity, who) in enumerate(told, 1)]
    lanes = [[each for each in events if each.partition == number] for number in range(orders.partitions)]
    database = MemoryDatabase(orders.partitions)
    projector = Projector(orders.views, database)
    while any(lanes):
        lane = random.choice([lane for lane in lanes if lane])
        size = random.randint(1, len(lane))
        await projector.apply(lane[:size])
        del lane[: random.randint(0, size)]
    for view, rows in plain_fold(events).items():
        assert database.rows.get(view, {}) == rows
    assert max(database.progress.values()).position == len(events)


async def test_a_repeat_changes_nothing_and_names_the_rows_that_it_touches():
    database = MemoryDatabase(orders.partitions)
    projector = Projector(orders.views, database)
    event = placed(1, "1")
    first = await projector.apply([event])
    again = await projector.apply([event])
    assert (first.fresh, again.fresh) == ([event], [])
    assert again.seen == {
        "order-details": {"1"},
        "sales-by-country": {"United Kingdom"},
        "customer-history": {"17850"},
    }
    assert database.rows["sales-by-country"]["United Kingdom"].orders == 1


async def overtaken(database, event):
    async with database.transaction() as slow:
        await Projector(orders.views, database).apply([event])
        await slow.save(orders.views[0], {"1": None})
        await slow.advance({event.partition: Move(Mark(), Mark(9, 9), START)})


async def test_a_worker_that_another_has_overtaken_writes_nothing():
    database = MemoryDatabase(orders.partitions)
    event = placed(1, "1")
    with pytest.raises(Fenced):
        await overtaken(database, event)
    assert database.progress[event.partition] == Mark(1, 1)
    assert list(database.rows["order-details"]) == ["1"]


class Ticked(Event):
    clock: str


class Ticks(Row):
    clock: str


def forget(row, event):
    return None if row else Ticks(clock=event.clock)


def ticking(project):
    return Domain(
        name="clocks",
        identity="clock",
        commands={},
        events={"clocks.Ticked.v1": Ticked},
        decider=Decider(None, lambda state, _: state, lambda *_: ()),
        views=(View("ticks", Ticks, "clock", lambda event: event.clock, project),),
        partitions=1,
    )


CLOCKS = ticking(forget)


def tick(position, clock="a"):
    event = Ticked(occurred_at=START, clock=clock)
    return Placed.of(0, position, of(CLOCKS, event, f"clocks-{clock}", position), event)


async def test_a_row_that_becomes_none_is_taken_away_and_may_come_back():
    database = MemoryDatabase(1)
    projector = Projector(CLOCKS.views, database)
    await projector.apply([tick(1)])
    applied = await projector.apply([tick(2)])
    assert applied.changed == {"ticks": {"a": None}}
    assert database.rows["ticks"] == {}
    await projector.apply([tick(3)])
    assert list(database.rows["ticks"]) == ["a"]


async def test_the_position_moves_also_for_events_that_no_view_uses():
    silent = replace(CLOCKS, views=())
    database = MemoryDatabase(1)
    await Projector(silent.views, database).apply([tick(1), tick(2)])
    assert database.progress == {0: Mark(2, 2)}
