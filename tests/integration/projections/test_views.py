"""Answers over a restart of their database."""

from domains.orders import domain
from projections.serving.views import Views


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
