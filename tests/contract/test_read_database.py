"""What a read database promises, kept by the one in memory and the one on PostgreSQL."""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, get_args
from uuid import uuid4

import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from pydantic import BaseModel, create_model

from domains.orders import domain
from domains.orders.model import Order
from domains.orders.values import Line
from domains.orders.views import CountrySales
from domains.personal import Personal
from eventstore.migrate import connect
from eventstore.personal.sealing import blank
from eventstore.records import NOTHING, RecordedEvent
from projections.errors import Fenced, RowRefused, TableMismatch
from projections.parking import Spot, Waiting
from projections.postgres import PostgresDatabase
from projections.rows import Mark, MemoryDatabase, Move, Want
from projections.tables import Table

AT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
DETAILS, COUNTRIES, _ = domain.views


@pytest.fixture(params=["memory", "postgres"])
async def database(request):
    async with opened(request) as database:
        yield database


@asynccontextmanager
async def opened(request):
    if request.param == "memory":
        yield MemoryDatabase(domain.partitions)
        return
    database = PostgresDatabase(request.getfixturevalue("read_database")[1], domain)
    yield database
    await database.close()


def order(number="536365", price="2.50"):
    line = Line(sku="85123A", description='a "quoted" – höhere', quantity=6, unit_price=price)
    told = {"order": number, "placed_at": AT, "changed_at": AT, "lines": (line,), "total": 6 * Decimal(price)}
    recipient = None if number == "2" else Personal.sealed(blank("orders-1", 1, "recipient"))
    return Order(status="placed", currency="GBP", recipient=recipient, **told)


async def save(database, rows, view=DETAILS):
    async with database.transaction() as transaction:
        await transaction.save(view, rows)


async def load(database, *keys, view=DETAILS):
    async with database.transaction() as transaction:
        return await transaction.load(view, keys)


async def test_a_row_comes_back_exactly_as_it_was(database):
    await save(database, {"536365": order(), "2": order("2", "0.001")})
    held = await load(database, "536365", "2", "3")
    assert held == {"536365": order(), "2": order("2", "0.001")}
    assert held["536365"].model_dump_json() == order().model_dump_json()


async def test_a_row_is_replaced_and_taken_away(database):
    await save(database, {"1": order("1"), "2": order("2")})
    await save(database, {"1": order("1", "9.99"), "2": None, "3": None})
    assert await load(database, "1", "2", "3") == {"1": order("1", "9.99")}


async def test_views_keep_their_rows_apart(database):
    await save(database, {"1": order("1")})
    assert await load(database, "1", view=COUNTRIES) == {}


async def test_positions_begin_at_0_and_move_only_from_where_they_are(database):
    async with database.transaction() as transaction:
        assert await transaction.positions() == dict.fromkeys(range(4), Mark())
        await transaction.advance({2: Move(Mark(), Mark(17, 4), AT)})
    async with database.transaction() as transaction:
        assert await transaction.positions() == {**dict.fromkeys(range(4), Mark()), 2: Mark(17, 4)}
    with pytest.raises(Fenced):
        await moved(database, 2, 16, 18)


async def test_several_positions_move_together_or_not_at_all(database):
    there = {1: Move(Mark(), Mark(5, 1), AT), 3: Move(Mark(), Mark(7, 2), AT)}
    async with database.transaction() as transaction:
        await transaction.advance(there)
    with pytest.raises(Fenced):
        async with database.transaction() as transaction:
            await transaction.advance({1: Move(Mark(5, 1), Mark(9, 3), AT), 3: Move(Mark(), Mark(9, 3), AT)})
    assert await database.positions() == {0: Mark(), 1: Mark(5, 1), 2: Mark(), 3: Mark(7, 2)}


async def test_a_fold_begins_with_its_rows_and_what_is_parked_of_them(database):
    await save(database, {"1": order("1"), "2": order("2")})
    async with database.transaction() as transaction:
        await transaction.parking(DETAILS).park([waiting("2"), waiting("9"), waiting("orders-7", of_stream=True)])
    async with database.transaction() as transaction:
        known, found = await transaction.take([Want(DETAILS, ["1", "2", "3", "orders-7"], {"orders-7", "9"})])
    assert found == [({Spot("2"), Spot("orders-7", of_stream=True)}, {"1": order("1"), "2": order("2")})]
    assert known == dict.fromkeys(range(4), Mark())


async def written_together(database, country, old):
    async with database.transaction() as transaction, transaction.together():
        await transaction.save(DETAILS, {"1": order("1")})
        await transaction.save(COUNTRIES, {"Norway": country})
        await transaction.advance({1: Move(Mark(old), Mark(9, 3), AT)})


async def test_of_what_is_written_together_nothing_stays_when_a_part_is_refused(database):
    fits, does_not_fit = (CountrySales(country="Norway", orders=orders) for orders in (1, 2**63))
    with pytest.raises(RowRefused):
        await written_together(database, does_not_fit, 0)
    with pytest.raises(Fenced):
        await written_together(database, fits, 5)
    assert (await load(database, "1"), await database.positions()) == ({}, dict.fromkeys(range(4), Mark()))
    await written_together(database, fits, 0)
    assert await load(database, "Norway", view=COUNTRIES) == {"Norway": fits}
    assert (await database.positions())[1] == Mark(9, 3)


def waiting(name, *, of_stream=False):
    event = RecordedEvent(1, "orders-7", 1, uuid4(), "orders.OrderPlaced.v1", AT, AT, b"{}", NOTHING)
    return Waiting(Spot(name, of_stream), event, "it failed")


async def moved(database, partition, old, new):
    async with database.transaction() as transaction:
        await transaction.save(DETAILS, {"1": order("1")})
        await transaction.advance({partition: Move(Mark(old), Mark(new), AT)})


async def test_who_changes_rows_beside_the_worker_leaves_a_mark_and_moves_nothing(database):
    async with database.transaction() as transaction:
        before = await transaction.positions()
        await transaction.touch()
        after = await transaction.positions()
    assert before != after
    assert [mark[:2] for mark in before.values()] == [mark[:2] for mark in after.values()]


async def test_rows_and_positions_are_written_together_or_not_at_all(database):
    await moved(database, 1, 0, 5)
    with pytest.raises(Fenced):
        await moved(database, 0, 3, 9)
    with pytest.raises(ZeroDivisionError):
        await broken(database)
    assert await load(database, "1", "2") == {"1": order("1")}
    async with database.transaction() as transaction:
        assert (await transaction.positions())[0] == Mark()


async def broken(database):
    async with database.transaction() as transaction:
        await transaction.save(DETAILS, {"2": order("2")})
        await transaction.advance({0: Move(Mark(), Mark(9), AT)})
        raise ZeroDivisionError


def test_a_row_that_has_changed_needs_a_new_version_of_its_view(read_database):
    class Changed(Order):
        owner: str = ""

    with connect(read_database[0], 30) as connection, pytest.raises(TableMismatch, match=r"in owner: .*from 2 to 3"):
        Table(replace(DETAILS, row=Changed)).create(connection)


def retyped(name, annotation):
    """The view with another type of one column, of which the table shows nothing."""
    return Table(replace(DETAILS, row=create_model("Changed", __base__=DETAILS.row, **{name: (annotation, ...)})))


class Renamed(BaseModel):
    article: str


@pytest.mark.parametrize(
    ("name", "annotation"),
    [
        ("lines", tuple[Renamed, ...]),
        ("lines", tuple[str, ...]),
        ("status", Literal["placed"]),
        ("status", str),
        ("recipient", str | None),
    ],
    ids=str,
)
def test_a_change_inside_of_a_column_needs_a_new_version_too(read_database, name, annotation):
    with connect(read_database[0], 30) as connection:
        with pytest.raises(TableMismatch, match=f"in {name}: "):
            retyped(name, annotation).create(connection)
        # Tables that were made before shapes were remembered are taken as they are, once.
        connection.execute(
            "UPDATE tables SET columns = (SELECT jsonb_object_agg(key, value - 2) FROM jsonb_each(columns))"
        )
        Table(DETAILS).create(connection)
        with pytest.raises(TableMismatch, match=f"in {name}: "):
            retyped(name, annotation).create(connection)


def test_a_column_may_have_more_choices(read_database):
    with connect(read_database[0], 30) as connection:
        retyped("status", Literal["lost", *get_args(DETAILS.row.model_fields["status"].annotation)]).create(connection)


async def test_what_is_read_only_may_not_write(floor, read_database):
    place = make_conninfo(read_database[1], user="operator", password=floor.settings("operator").password)
    own = floor.settings("operator")
    place = make_conninfo(place, sslcert=str(own.cert_file), sslkey=str(own.key_file))
    async with await AsyncConnection.connect(place, autocommit=True) as connection:
        assert await (await connection.execute("SELECT count(*) FROM order_details_v2")).fetchone() == (0,)
        for verb in ("UPDATE positions SET position = 1", "DELETE FROM order_details_v2", "DROP TABLE positions"):
            with pytest.raises(Exception, match=r"permission denied|must be owner"):
                await connection.execute(verb)
