"""Publishes what others have changed: rows, by a rebuild or a replay, and what was skipped, as events."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domains.kernel import Domain
from infra.beside import beside
from infra.health import Health
from projections import sql
from projections.errors import ReadUnavailable
from projections.postgres import PostgresDatabase
from projections.publish import Publisher
from projections.rows import AnyView, ordered, to_publish
from projections.skipped import told
from projections.tables import Table

log = logging.getLogger(__name__)
TAKE, TAKE_SKIPS = sql.text("take_republished"), sql.text("take_untold_skips")
MOST = 500
PERIOD_SECONDS = 1.0


class Republisher:
    """Any number may be at work: each key is taken by one, and its row does not change until it is published.

    A skip is told at least once, and always as the same event.
    """

    def __init__(self, domain: Domain, conninfo: str, publisher: Publisher) -> None:
        self._domain, self._publisher = domain, publisher
        self._database = PostgresDatabase(conninfo, domain)

    @asynccontextmanager
    async def running(self, health: Health) -> AsyncIterator[None]:
        """At work inside of the block."""
        try:
            async with beside(health, {"republishing": self._work()}):
                yield
        finally:
            await self.close()

    async def close(self) -> None:
        await self._database.close()

    async def once(self) -> int:
        """Publishes some of what waits; how much. Raises `ReadUnavailable`; then nothing is lost."""
        return sum([await self._some(view) for view in self._domain.views]) + await self._skips()

    async def _skips(self) -> int:
        async with self._database.transaction() as transaction:
            rows = await (await transaction.execute(TAKE_SKIPS, {"limit": MOST})).fetchall()
            if rows:
                await self._publisher.skips([told(self._domain, row) for row in rows])
        return len(rows)

    async def _some(self, view: AnyView) -> int:
        async with self._database.transaction() as transaction:
            which = {"name": Table(view).name, "limit": MOST}
            keys = {row["key"] for row in await (await transaction.execute(TAKE, which)).fetchall()}
            if keys:
                if view.shared:
                    await transaction.lock(view)
                held = await transaction.load(view, ordered(keys))
                await self._publisher.rows((view, to_publish(held, keys)))
        return len(keys)

    async def _work(self) -> None:
        while True:
            try:
                waits = await self.once() == 0
            except ReadUnavailable as error:
                log.warning("changed rows wait to be published: %s", error)
                waits = True
            if waits:
                await asyncio.sleep(PERIOD_SECONDS)
