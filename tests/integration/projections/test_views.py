"""Answers while their database is away, and pages in every order."""

from dataclasses import replace
from itertools import count

import pytest
from psycopg.conninfo import make_conninfo

from domains.orders import domain
from domains.orders.model import Order
from infra.web import Problem
from projections.paging import Place
from projections.postgres import PostgresDatabase
from projections.serving.service import problems
from projections.serving.views import Views
from tests.integration.projections.conftest import System

DETAILS = domain.views[0]
COLUMNS = (None, *DETAILS.filters)
ORDERS = [Place(column, descending) for column in COLUMNS for descending in (False, True)]


async def test_who_asks_after_a_restart_of_the_server_is_answered(floor, read_database):
    views = Views(read_database[1], domain)
    await views.open()
    try:
        assert await views.one(domain.views[0], "536365") is None
        floor.kill("postgres")
        floor.up(only={"postgres"})
        assert await views.one(domain.views[0], "536365") is None
    finally:
        await views.close()


async def refused(asking):
    """The problem that a question gets instead of an answer."""
    with pytest.raises(Problem) as caught:
        async with problems():
            await asking
    return caught.value.status_code, caught.value.type, caught.value.headers["retry-after"]


async def test_who_asks_while_a_lost_database_is_rebuilt_is_told_to_come_again(read_database):
    reader = read_database[1]
    system = System(*read_database, None, None)
    views, gone = Views(reader, domain), Views(make_conninfo(reader, dbname="gone"), domain)
    await views.open()
    await gone.open()
    try:
        for name in ("order_details_v2", "positions"):
            system.execute(f"ALTER TABLE {name} RENAME TO {name}_lost")
        away = (503, "views-unavailable", "1")
        assert await refused(views.one(DETAILS, "0")) == away
        assert await refused(views.page(DETAILS, {}, Place(), 10)) == away
        assert await refused(views.progress()) == away
        assert await refused(gone.progress()) == away
        system.execute("ALTER TABLE order_details_v2_lost RENAME TO order_details_v2")
        assert await views.one(DETAILS, "0") is None
        system.execute('REVOKE SELECT ON order_details_v2 FROM "orders-read"')
        assert await refused(views.one(DETAILS, "0")) == away
    finally:
        await views.close()
        await gone.close()


def order(number):
    customer = (None, "ann", "Ann", "bob", "Österreich")[number % 5]
    status = ("placed", "returned", "cancelled")[number % 3]
    return Order(order=f"{number:03}", status=status, customer=customer, country=("Norway", "EIRE")[number % 2])


async def test_pages_neither_leave_out_nor_repeat_while_rows_come(read_database):
    database, views = PostgresDatabase(read_database[0], domain), Views(read_database[1], domain)
    await views.open()
    numbers = count()

    async def more():
        rows = {one.order: one for one in (order(next(numbers) * 37 % 997) for _ in range(11))}
        async with database.transaction() as transaction:
            await transaction.save(DETAILS, rows)

    try:
        await more()
        for begin in ORDERS:
            before = await views.page(DETAILS, {}, begin, 1000)
            assert before == in_order(before, begin)
            found, place = [], begin
            while page := await views.page(DETAILS, {}, place, 4):
                found += page
                place = replace(begin, value=value(page[-1], begin), key=page[-1].order)
                await more() if len(found) == 4 else None
            assert found == in_order(found, begin)
            assert len({row.order for row in found}) == len(found)
            assert {row.order for row in before} <= {row.order for row in found}
        chosen = await views.page(DETAILS, {"country": "EIRE"}, Place("customer", True), 1000)
        everything = await views.page(DETAILS, {}, Place(), 1000)
        expected = in_order(everything, Place("customer", True))
        assert chosen == [row for row in expected if row.country == "EIRE"]
    finally:
        await views.close()
        await database.close()


def value(row, place):
    return getattr(row, place.column) if place.column else None


def in_order(rows, place):
    """As the twin in memory has it."""
    return sorted(rows, key=lambda row: place.rank(row, DETAILS.key), reverse=place.descending)


@pytest.mark.parametrize("place", ORDERS, ids=lambda place: f"{'-' * place.descending}{place.column or 'key'}")
def test_what_is_behind_a_place_is_what_comes_after_its_row(place):
    rows = in_order([order(number) for number in range(30)], place)
    for here, row in enumerate(rows):
        behind = replace(place, value=value(row, place), key=row.order)
        assert [one for one in rows if behind.before(behind.rank(one, DETAILS.key))] == rows[here + 1 :]
