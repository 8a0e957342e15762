"""Works batches of records, whichever lane they come by: judged, folded, published, and only then acknowledged."""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, NoReturn

from domains.kernel import Domain
from eventstore.errors import EventStoreError
from eventstore.relay import IN_FLIGHT
from infra.logs import Lines
from infra.telemetry import about
from projections.metrics import BATCH_EVENTS, BATCH_SECONDS, COMMIT_SECONDS, DEAD, EVENTS, POSITION
from projections.patience import Patience
from projections.placed import Arrived, Placed
from projections.projector import Applied, Misplaced, Projector, lasts
from projections.publication import Publication
from projections.publish import Publisher
from projections.records import DeadLetter, judge, passed, sorted_out
from projections.rows import ReadDatabase
from projections.sources import Batch, Done, Source

log = logging.getLogger(__name__)

SLOW_SECONDS, STUCK_SECONDS = 8.0, 50.0
IN_HAND = 500_000  # objects: more than the batches in hand hold, so that what really leaks is found

Published = Callable[[], Awaitable[int]]


class Worker:
    """Folds batch by batch, one at a time, and publishes beside that."""

    def __init__(  # noqa: PLR0917
        self,
        domain: Domain,
        database: ReadDatabase,
        publisher: Publisher,
        lines: Lines,
        moved: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        head: Published | None = None,
    ) -> None:
        """`head` is how far the store is; without it only the topic says which positions there can be."""
        self._domain, self._publisher, self._moved, self._lines = domain, publisher, moved, lines
        self._projector = Projector(domain.views, database)
        self._publication = Publication(domain, self._projector, database, publisher)
        self._folding, self._publishing = Patience(clock), Patience(clock)
        self._dead = DEAD.labels(domain.name)
        self._head, self._most = head, 0

    def problem(self) -> str | None:
        """Why nothing is folded or published now, or None."""
        return self._folding.problem or self._publishing.problem or self._lasting(SLOW_SECONDS)

    def stuck(self) -> str | None:
        """What neither ends nor fails, though all that it waits for is bounded in time; only a new process helps."""
        return self._lasting(STUCK_SECONDS)

    def judged(self, records: Iterable[Arrived], done: Done) -> Batch:
        """What records are. Any thread may ask, also while a batch is worked."""
        events, strangers = list[Placed](), list[DeadLetter]()
        for record in records:
            one = judge(self._domain, record)
            if isinstance(one, Placed):
                events.append(one)
            else:
                strangers.append(one)
        return Batch(events, strangers, done)

    async def run(self, lane: Source, published: Published) -> None:
        """Works what a lane brings; `published` says how many records its topic has had. Ends only when cancelled."""
        async for batch in lane.batches():
            await self.work(batch, published)

    async def work(self, batch: Batch, published: Published) -> None:
        """Works until rows are committed, whatever fails meanwhile; the batch is done when they are published, too.

        What is none of our events is set aside first, so that it is never lost; a crash may set it aside once more.
        """
        await self._publication.room()
        good = await self._folding.until_done(partial(self._sort_out, batch, published))
        applied = await self._folding.until_done(partial(self._fold, good)) if good else Applied()
        self._publication.add(applied, batch.done)

    async def publish(self) -> NoReturn:
        """Runs beside the lane."""
        await self._publication.run(self._publishing)

    def _lasting(self, most: float) -> str | None:
        return self._folding.lasting(most) or self._publishing.lasting(most)

    async def _sort_out(self, batch: Batch, published: Published) -> list[Placed]:
        """The events of a batch, after everything else in it was set aside."""
        if max((event.position for event in batch.events), default=0) > self._most:
            self._folding.begin("asking for the ends of the topic")
            self._most = await self._bound(published)
        good, bad = sorted_out(batch.events, self._most)
        if bad or batch.strangers:
            await self._set_aside([*batch.strangers, *bad])
        return good

    async def _bound(self, published: Published) -> int:
        """The highest position that can have been published. While the store does not answer, the topic says it."""
        if self._head is not None:
            try:
                return await self._head()
            except EventStoreError as error:
                log.info("the store does not say how far it is: %s", error)
        return await published() + IN_FLIGHT

    async def _passed(self, misplaced: Sequence[Misplaced]) -> None:
        await self._set_aside([passed(*one) for one in misplaced])

    async def _set_aside(self, bad: Sequence[DeadLetter]) -> None:
        self._folding.begin("setting records aside")
        await self._publisher.dead(bad)
        for letter in bad:
            log.warning("set aside %s: %s", letter.origin, letter.reason)
        self._dead.inc(len(bad))

    async def _fold(self, events: Sequence[Placed]) -> Applied:
        with BATCH_SECONDS.labels(self._domain.name).time():
            self._folding.begin("folding and committing a batch")
            with COMMIT_SECONDS.labels(self._domain.name).time():
                applied = await self._projector.apply(events, self._passed)
            self._moved()
            tell_parked(applied)
        EVENTS.labels(self._domain.name).inc(len(applied.fresh))
        BATCH_EVENTS.labels(self._domain.name).observe(len(events))
        if log.isEnabledFor(logging.DEBUG):
            for event in applied.fresh:
                self._lines.write(folded(event))
        for partition, last in lasts(applied.fresh).items():
            POSITION.labels(self._domain.name, partition).set(last.position)
        return applied


def tell_parked(applied: Applied) -> None:
    for view, waiting in applied.parked.items():
        for one in waiting:
            told = one.event.metadata
            with about(told.request_id, told.traceparent):
                why = one.error or "it waits behind an event that failed"
                log.warning("parked %s %s of the view %s: %s", one.event.stream, one.event.version, view, why)


def folded(event: Placed) -> dict[str, Any]:
    """What the log says of an event, with the ids of the request that caused it."""
    told = event.metadata
    return {
        "log.level": "debug",
        "message": f"folded {event.stream} {event.version}",
        "log": {"logger": "projection"},
        "event": {"sequence": event.position},
        "http": {"request": {"id": told.request_id}},
        "trace": {"id": told.traceparent and told.traceparent[3:35]},
    }
