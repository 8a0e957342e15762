"""A store with orders in it, and the views of these on PostgreSQL."""

import asyncio
import json
from contextlib import asynccontextmanager
from itertools import count

import psycopg
import pytest
from psycopg.sql import SQL

from domains.handler import Handler, Request
from domains.orders import domain
from eventstore.postgres import PostgresStore
from projections.postgres import PostgresDatabase
from projections.projector import Projector
from projections.refolding.beside import Standing
from projections.refolding.drift import Frozen, verify
from projections.refolding.refold import CatchUp, Log
from projections.tables import Table, tables

LINE = {"sku": "85123A", "quantity": 40, "unit_price": "2.55"}
COUNTRIES = ["France", "EIRE", "United Kingdom"]


class System:
    """One store and its read database, with a worker that is fed from the store."""

    def __init__(self, owner, reader, events, store):
        self.owner, self.reader, self.events, self.store = owner, reader, events, store
        self._handler, self._numbers = Handler(domain, store), count()

    async def place(self, orders):
        await asyncio.gather(*(self._place(next(self._numbers)) for _ in range(orders)))

    async def _place(self, number):
        about = {"country": COUNTRIES[number % 3], "customer": str(number % 50)}
        body = {"placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE], **about}
        await self._handler.handle(Request(str(number), "place", json.dumps(body).encode()))

    async def project(self, declared=domain):
        """Folds what is there, as the worker does."""
        database = PostgresDatabase(self.reader, declared)
        projector = Projector(declared.views, database)
        try:
            marks = await projector.marks()
            log = Log(declared, self.store, min(mark.position for mark in marks.values()))
            bounds = dict.fromkeys(marks, await self.store.head())
            async for batch in CatchUp(log, declared, bounds).batches():
                await projector.apply(batch.events)
        finally:
            await database.close()

    def standing(self, declared=domain):
        return Standing.open(self.owner, declared)

    async def drift(self, declared=domain):
        """What differs from a fold of the store, in all views."""
        found = []
        for view in declared.views:
            async with Frozen.open(self.owner) as frozen:
                found += (await verify(declared, view, self.store, frozen, most=None, progress=lambda *_: None)).drift
        return found

    def execute(self, statement, *parameters):
        with psycopg.connect(self.owner, autocommit=True) as connection:
            done = connection.execute(statement, parameters)
            return done.fetchall() if done.description else done.rowcount

    def dump(self, view):
        """The rows of a view's table with where they lie and who wrote them."""
        return self.execute(SQL("SELECT ctid, xmin, xmax, * FROM {} ORDER BY 4").format(Table(view).identifier))

    def tables(self):
        """The tables of views that are there."""
        names = self.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND pg_table_is_visible(oid)")
        begins = tuple(table.name.rpartition("_v")[0] for table in tables(domain).values())
        return {name for (name,) in names if name.startswith(begins)}


@asynccontextmanager
async def opened(read_database, postgres):
    async with PostgresStore.open(postgres) as store:
        yield System(*read_database, postgres, store)


@pytest.fixture
async def system(read_database, postgres):
    """With 200 orders placed and projected."""
    async with opened(read_database, postgres) as system:
        await system.place(200)
        await system.project()
        yield system
