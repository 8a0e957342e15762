"""Publishes the rows that batches changed, in order, while the next batches are folded."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn

from domains.kernel import Domain
from projections.patience import Patience
from projections.projector import Applied, Projector
from projections.publish import Changed, Publisher
from projections.rows import ReadDatabase, Transaction, ordered, to_publish
from projections.sources import Done

MANY = 4000  # events


@dataclass(slots=True)
class Batches:
    """What waits to be published, as if it were one batch, and whom to tell that it is."""

    applied: Applied = field(default_factory=Applied)
    done: list[Done] = field(default_factory=list)

    def add(self, later: Applied, done: Done) -> None:
        whole = self.applied
        self.done.append(done)
        if not (whole.fresh or whole.seen):
            self.applied = later
            return
        for name, rows in later.changed.items():
            whole.changed[name] = whole.changed.get(name, {}) | rows
        for name, keys in later.seen.items():
            whole.seen[name] = whole.seen.get(name, set()) | keys
        whole.fresh += later.fresh
        whole.alone = whole.alone and later.alone


class Publication:
    """Batches that come while one is published are published together: what they changed twice goes out once.

    The last record of a key must be its newest row. While nobody else works, ours is. Another worker may have changed
    a shared row meanwhile, and a repeated one long ago; these are read anew, and kept from changing until they are
    published. That somebody else works shows in the positions, at the latest when all is published: then all is read
    anew, unless only partitions moved of which the batch has nothing and its shared rows were read anew already.
    """

    def __init__(self, domain: Domain, projector: Projector, database: ReadDatabase, publisher: Publisher) -> None:
        self._domain, self._projector, self._database, self._publisher = domain, projector, database, publisher
        self._waiting = Batches()
        self._came, self._taken = asyncio.Event(), asyncio.Event()

    def add(self, applied: Applied, done: Done) -> None:
        """`done` is called when everything that was added until now is published."""
        self._waiting.add(applied, done)
        self._came.set()

    async def room(self) -> None:
        """Returns when no more waits than one large batch or some small ones."""
        while len(self._waiting.applied.fresh) >= MANY:
            self._taken.clear()
            await self._taken.wait()

    async def run(self, patience: Patience) -> NoReturn:
        while True:
            await self._came.wait()
            self._came.clear()
            batches, self._waiting = self._waiting, Batches()
            self._taken.set()
            await patience.until_done(partial(self._publish, batches.applied, patience))
            for done in batches.done:
                done()

    async def _publish(self, applied: Applied, patience: Patience) -> None:
        patience.begin("publishing rows")
        shared = {view.name: applied.changed.get(view.name, {}).keys() for view in self._domain.views if view.shared}
        await self._out(applied, {} if applied.alone else shared)
        ours = applied.others if applied.alone else {placed.partition for placed in applied.fresh}
        others = await self._projector.others()
        if any(others[partition] != applied.others[partition] for partition in ours):
            await self._out(applied, {name: rows.keys() for name, rows in applied.changed.items()})

    async def _out(self, applied: Applied, anew: Mapping[str, Collection[str]]) -> None:
        """Rows as they were folded; those of repeats, and `anew`, as they are now."""
        changed = list[Changed]()
        async with AsyncExitStack() as stack:
            transaction: Transaction | None = None
            for view in self._domain.views:
                again = {*applied.seen.get(view.name, ()), *anew.get(view.name, ())}
                own = applied.changed.get(view.name, {})
                changed.append((view, {key: own[key] for key in own.keys() - again}))
                if again:
                    if transaction is None:
                        transaction = await stack.enter_async_context(self._database.transaction())
                    if view.shared:
                        await transaction.lock(view)
                    held = await transaction.load(view, ordered(again))
                    changed.append((view, to_publish(held, again)))
            await self._publisher.rows(*changed)
