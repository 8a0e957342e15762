"""What is in memory or in a snapshot saves work and decides nothing."""

import json
from dataclasses import replace

import pytest

from domains.aggregates import Aggregates, Policy, fold_version
from domains.handler import Handler, Request, fold
from domains.kernel import Upcaster
from domains.orders import domain
from eventstore.errors import StoreUnavailable
from eventstore.memory import MemoryStore
from eventstore.records import Snapshot

LINE = {"sku": "85123A", "quantity": 40, "unit_price": "2.55"}
PLACE = {"placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE]}
STREAM = "orders-1"


class Counting(MemoryStore):
    """Counts the events that were read."""

    read = 0

    async def read_stream(self, stream, **bounds):
        page = await super().read_stream(stream, **bounds)
        self.read += len(page)
        return page


@pytest.fixture
def store():
    return Counting()


def returning(number):
    back = {**LINE, "quantity": 1}
    return {"returned_at": f"2010-12-01T09:{number:02}:00Z", "currency": "GBP", "lines": [back]}


async def grow(store, events, policy=None):
    """A stream of so many events, by one process."""
    handler = Handler(domain, store, policy)
    await handler.handle(Request("1", "place", json.dumps(PLACE).encode()))
    for number in range(events - 1):
        await handler.handle(Request("1", "return", json.dumps(returning(number)).encode()))


async def truth(store):
    return await fold(domain, store, STREAM)


async def test_a_hot_aggregate_is_read_from_where_it_was(store):
    await grow(store, 30)
    assert store.read < 2 * 30


async def test_who_remembers_nothing_reads_everything_each_time(store):
    await grow(store, 10, Policy(hot=0, snapshot_every=0))
    assert store.read == sum(range(10))


async def test_what_another_process_has_appended_is_seen(store):
    here = Aggregates(domain, store)
    await grow(store, 3)
    assert await here.load(STREAM) == await truth(store)
    elsewhere = Handler(domain, store)
    await elsewhere.handle(Request("1", "return", json.dumps(returning(30)).encode()))
    folded = await here.load(STREAM)
    assert (folded, folded.version) == (await truth(store), 4)


async def test_the_aggregates_in_memory_are_bounded(store):
    handler = Handler(domain, store, Policy(hot=2))
    for number in range(5):
        await handler.handle(Request(str(number), "place", json.dumps(PLACE).encode()))
        await handler.handle(Request(str(number), "place", json.dumps(PLACE).encode()))
    assert list(handler._aggregates._hot) == ["orders-3", "orders-4"]


async def test_the_bytes_in_memory_are_bounded(store):
    for number in range(5):
        await Handler(domain, store).handle(Request(str(number), "place", json.dumps(PLACE).encode()))
    size = len((await store.read_log())[0].data)
    aggregates = Aggregates(domain, store, Policy(hot_bytes=2 * size))
    for number in (0, 1, 2, 1, 3):
        await aggregates.load(f"orders-{number}")
    assert (list(aggregates._hot), aggregates._bytes) == (["orders-1", "orders-3"], 2 * size)
    small = Aggregates(domain, store, Policy(hot_bytes=size - 1))
    assert (await small.load("orders-0")).version == 1
    assert (list(small._hot), small._bytes) == ([], 0)


async def test_a_cold_start_begins_at_the_snapshot(store):
    await grow(store, 26, Policy(snapshot_every=10))
    store.read = 0
    folded = await Aggregates(domain, store, Policy(snapshot_every=10)).load(STREAM)
    assert store.read == 26 - store._snapshots[STREAM].version < 10
    assert folded == await truth(store)


async def test_without_its_snapshot_the_state_is_the_same(store):
    await grow(store, 26, Policy(snapshot_every=10))
    store._snapshots.clear()
    assert await Aggregates(domain, store).load(STREAM) == await truth(store)


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b'{"state": "{}", "position": 1}', b'{"state": 7}', b"\xff\xfe"])
async def test_a_snapshot_that_cannot_be_read_is_passed_over(store, broken):
    await grow(store, 12, Policy(snapshot_every=10))
    await store.keep_snapshot(Snapshot(STREAM, 11, store._snapshots[STREAM].type, broken))
    assert await Aggregates(domain, store).load(STREAM) == await truth(store)


async def test_another_fold_does_not_begin_at_the_snapshot(store):
    await grow(store, 25, Policy(snapshot_every=10))

    def evolve(order, event):
        return domain.decider.evolve(order, event).model_copy(update={"country": "nowhere"})

    changed = replace(domain, decider=replace(domain.decider, evolve=evolve, version="2"))
    store.read = 0
    folded = await Aggregates(changed, store, Policy(snapshot_every=10)).load(STREAM)
    assert (store.read, folded.state.country) == (25, "nowhere")


def test_a_fold_is_known_by_its_version_or_by_the_code_of_its_domain(tmp_path, monkeypatch):
    assert fold_version(replace(domain, decider=replace(domain.decider, version="7"))) == "7"
    ours = fold_version(domain)
    assert fold_version(domain) == ours
    changed = tmp_path / "model.py"
    changed.write_text("changed")
    monkeypatch.setattr("domains.orders.model.__file__", str(changed))
    assert fold_version(domain) != ours


def test_an_upcaster_from_elsewhere_belongs_to_the_fold():
    old = Upcaster("orders.OrderPlaced.v1", json.loads)
    events = {name.replace("OrderPlaced.v1", "OrderPlaced.v2"): model for name, model in domain.events.items()}
    assert fold_version(replace(domain, events=events, upcasters=(old,))) != fold_version(domain)


async def test_a_store_that_keeps_no_snapshots_now_is_no_reason_to_refuse(store):
    async def away(_snapshot):
        raise StoreUnavailable("away")

    store.keep_snapshot = away
    await grow(store, 25, Policy(snapshot_every=10))
    assert (await truth(store)).version == 25
