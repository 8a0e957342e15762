"""What is published of batches, in which order, and when it may be acknowledged. The rows count events."""

import asyncio
from contextlib import asynccontextmanager, suppress
from time import monotonic

import pytest

from domains.discovery import discover
from projections.patience import Patience
from projections.projector import Applied, Projector
from projections.publication import MANY, Publication
from projections.rows import MemoryDatabase
from tests.unit.projections.test_projector import placed

orders = discover()["orders"]
COUNTRY, DETAILS = "sales-by-country", "order-details"


class Topics:
    """Publishes when it is let; remembers each record."""

    def __init__(self):
        self.records, self.open, self.asked = [], asyncio.Event(), asyncio.Event()
        self.open.set()

    async def rows(self, *changed):
        self.asked.set()
        await self.open.wait()
        self.records += [(view.name, key, row) for view, rows in changed for key, row in rows.items()]

    def of(self, name):
        return [row for view, _, row in self.records if view == name]


@asynccontextmanager
async def publishing(publication):
    task = asyncio.create_task(publication.run(Patience(monotonic)))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Work:
    """A worker's projector and publication, and which batches were done."""

    def __init__(self):
        self.database, self.topics = MemoryDatabase(orders.partitions), Topics()
        self.projector = Projector(orders.views, self.database)
        self.publication = Publication(orders, self.projector, self.database, self.topics)
        self.done = []

    async def fold(self, *events):
        """One batch; returns an event that is set when it may be acknowledged."""
        may = asyncio.Event()
        self.publication.add(await self.projector.apply(events), may.set)
        return may


@pytest.fixture
def work():
    return Work()


async def test_a_batch_is_done_when_its_rows_are_published(work):
    work.topics.open.clear()
    async with publishing(work.publication):
        may = await work.fold(placed(1, "1"))
        await work.topics.asked.wait()
        assert not may.is_set()
        work.topics.open.set()
        await may.wait()
    assert [(view, key) for view, key, _ in work.topics.records] == [
        (DETAILS, "1"),
        (COUNTRY, "United Kingdom"),
        ("customer-history", "17850"),
    ]


async def test_what_comes_while_one_batch_is_published_goes_out_as_one(work):
    async with publishing(work.publication):
        await (await work.fold(placed(1, "1"))).wait()
        work.topics.open.clear()
        work.topics.asked.clear()
        marks = [await work.fold(placed(2, "2"))]
        await work.topics.asked.wait()
        marks += [await work.fold(placed(position, str(position))) for position in (3, 4)]
        work.topics.open.set()
        for mark in marks:
            await mark.wait()
    assert [row.orders for row in work.topics.of(COUNTRY)] == [1, 2, 4]
    assert len(work.topics.of(DETAILS)) == 4


async def test_a_shared_row_that_another_worker_changed_meanwhile_is_published_as_it_is_now(work):
    async with publishing(work.publication):
        await (await work.fold(placed(1, "1"))).wait()
        work.topics.open.clear()
        work.topics.asked.clear()
        may = await work.fold(placed(2, "2"))
        await work.topics.asked.wait()
        await Projector(orders.views, work.database).apply([placed(3, "3")])
        work.topics.open.set()
        await may.wait()
    assert [row.orders for row in work.topics.of(COUNTRY)] == [1, 2, 3]


async def test_a_row_that_somebody_else_corrected_meanwhile_is_published_as_it_is_now(work):
    async with publishing(work.publication):
        await (await work.fold(placed(1, "1"))).wait()
        work.topics.open.clear()
        work.topics.asked.clear()
        may = await work.fold(placed(2, "2"))
        await work.topics.asked.wait()
        async with work.database.transaction() as transaction:
            [row] = (await transaction.load(orders.views[0], ["2"])).values()
            await transaction.save(orders.views[0], {"2": row.model_copy(update={"country": "Norway"})})
            await transaction.touch()
        work.topics.open.set()
        await may.wait()
    assert [row.country for row in work.topics.of(DETAILS)][-1] == "Norway"


async def test_repeats_are_published_as_they_are_now_and_a_batch_of_nothing_waits_for_those_before(work):
    async with publishing(work.publication):
        await (await work.fold(placed(1, "1"), placed(2, "2"))).wait()
        work.topics.records.clear()
        work.topics.open.clear()
        first = await work.fold(placed(1, "1"))
        await work.topics.asked.wait()
        nothing = asyncio.Event()
        work.publication.add(Applied(), nothing.set)
        assert not nothing.is_set()
        work.topics.open.set()
        await nothing.wait()
        assert first.is_set()
    assert [row.orders for row in work.topics.of(COUNTRY)] == [2]


async def test_who_folds_waits_when_much_is_not_published(work):
    many = Applied(fresh=[placed(1, "1")] * MANY)
    work.publication.add(many, lambda: None)
    room = asyncio.create_task(work.publication.room())
    await asyncio.sleep(0)
    assert not room.done()
    async with publishing(work.publication):
        await room
