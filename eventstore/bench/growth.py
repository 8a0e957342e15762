"""A log that has grown beside one that is empty: what an append and the tail cost in each."""

from dataclasses import dataclass, replace

import psycopg
from psycopg.conninfo import make_conninfo

from eventstore import sql
from eventstore.bench import ours
from eventstore.bench.place import Place
from eventstore.migrate import migrate
from eventstore.postgres import PostgresStore
from infra.bench.figures import Round

SCHEMA = "grown"
PIECE = 100_000
TAIL = 20_000
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Grown:
    """Another store in the same database."""

    place: Place

    @classmethod
    def beside(cls, place: Place) -> "Grown":
        with psycopg.connect(place.conninfo) as connection:
            connection.execute(f"CREATE SCHEMA {SCHEMA}")
        grown = replace(place, conninfo=make_conninfo(place.conninfo, options=f"-c search_path={SCHEMA}"))
        with psycopg.connect(grown.conninfo) as connection:
            migrate(connection, None)  # who owns the store writes to it, and makes room in it
            # The owner extends the log; here it is the writer too, who may not.
            connection.execute("GRANT ALL ON ranges TO CURRENT_USER")
        return cls(grown)

    def grow(self, done: int, payload: int) -> int:
        """A piece more; how many events there are now."""
        last = done + PIECE
        with psycopg.connect(self.place.conninfo, autocommit=True) as connection:
            bounds = {"first": done + 1, "last": last, "data": ours.body(payload)}
            connection.execute(sql.statement("bench_grow"), bounds)
            connection.execute(sql.statement("bench_head"), bounds)
        return last

    def settle(self) -> None:
        """What autovacuum would otherwise do while something is measured."""
        with psycopg.connect(self.place.conninfo, autocommit=True) as connection:
            for table in ("events", "streams", "idempotency"):
                connection.execute(f"VACUUM ANALYZE {table}")


async def tail(conninfo: str) -> Round:
    """The last events, in pages."""
    async with PostgresStore.open(conninfo) as store:
        head = await store.head()
        return await ours.walk(store, max(0, head - TAIL), PAGE)
