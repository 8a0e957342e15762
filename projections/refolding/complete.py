"""Completes a read database from the store, before its processes start: views with a new version, or all of them."""

from psycopg.sql import SQL

from domains.kernel import Domain
from eventstore.link import connect
from eventstore.postgres import PostgresStore
from projections.postgres import PROJECTION
from projections.refolding.beside import Standing
from projections.refolding.rebuild import Rebuilt, rebuild
from projections.refolding.refold import Log
from projections.tables import tables


async def complete(domain: Domain, place: str, store_place: str) -> list[Rebuilt]:
    """Builds what the positions do not count for, while the versions before are served.

    Both are connection strings of the owner. Raises what `rebuild` does.
    """
    if not await has_log(store_place):
        return []
    async with PostgresStore.open(store_place) as store, Standing.open(place, domain) as standing:
        if not any((await standing.positions()).values()) and await store.head():
            await begin(standing, store)
        return [await rebuild(standing, view, store) for view in domain.views if not await standing.counts_for(view)]


async def recorded(store_place: str) -> bool:
    """Whether the store has events. Raises `StoreUnavailable`."""
    if not await has_log(store_place):
        return False
    async with PostgresStore.open(store_place) as store:
        return await store.head() > 0


async def has_log(store_place: str) -> bool:
    """A store that is being made at this moment has no events."""
    async with await connect(store_place) as connection:
        found = await (await connection.execute("SELECT to_regclass('head') IS NOT NULL")).fetchone()
    return found is not None and bool(found[0])


async def begin(standing: Standing, store: PostgresStore) -> None:
    """Lets an empty read database begin where the store is, with no view in it.

    It could not begin with Kafka: what the group had seen before is not delivered to it again.
    """
    ends = dict.fromkeys(range(standing.domain.partitions), 0)
    log = Log(standing.domain, store)
    async for page in log.pages(dict.fromkeys(ends, await store.head())):
        ends |= {log.partition(event): event.position for event in page}
    async with standing.connection.transaction():
        for table in tables(standing.domain).values():
            await standing.connection.execute(SQL("DROP TABLE IF EXISTS {}").format(table.identifier))
        for partition, position in ends.items():
            told = {"projection": PROJECTION, "partition": partition, "position": position}
            await standing.run("begin_at", told)
