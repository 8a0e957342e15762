"""Answers while their database is away: after a restart they come, and until it is rebuilt they are refused."""

import pytest
from psycopg.conninfo import make_conninfo

from domains.orders import domain
from infra.web import Problem
from projections.serving.service import problems
from projections.serving.views import Views
from tests.integration.projections.conftest import System

DETAILS = domain.views[0]


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
        assert await refused(views.page(DETAILS, {}, "", 10)) == away
        assert await refused(views.progress()) == away
        assert await refused(gone.progress()) == away
        system.execute("ALTER TABLE order_details_v2_lost RENAME TO order_details_v2")
        assert await views.one(DETAILS, "0") is None
        system.execute('REVOKE SELECT ON order_details_v2 FROM "orders-read"')
        assert await refused(views.one(DETAILS, "0")) == away
    finally:
        await views.close()
        await gone.close()
