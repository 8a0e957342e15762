"""Works batches of records, whichever lane they come by: judged, folded, published, and only then acknowledged."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from domains.kernel import Domain
from eventstore.relay import IN_FLIGHT
from infra.logs import Lines
from infra.telemetry import about
from projections.errors import Fenced, ProjectionError
from projections.metrics import BATCH_EVENTS, BATCH_SECONDS, COMMIT_SECONDS, DEAD, EVENTS, POSITION
from projections.placed import Arrived, Placed
from projections.projector import Applied, Projector, lasts
from projections.publish import Publisher, publish
from projections.records import DeadLetter, judge, sorted_out
from projections.rows import ReadDatabase

log = logging.getLogger(__name__)

PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SLOW_SECONDS, STUCK_SECONDS = 8.0, 50.0
IN_HAND = 500_000  # objects: more than the batches in hand hold, so that what really leaks is found

T = TypeVar("T")
Judged = Sequence[tuple[Arrived, Placed | DeadLetter]]
Published = Callable[[], Awaitable[int]]


class Worker:
    """Works batch by batch, one at a time."""

    def __init__(  # noqa: PLR0917
        self,
        domain: Domain,
        database: ReadDatabase,
        publisher: Publisher,
        lines: Lines,
        moved: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._domain, self._database, self._publisher, self._moved = domain, database, publisher, moved
        self._projector, self._lines, self._clock = Projector(domain.views, database), lines, clock
        self._dead = DEAD.labels(domain.name)
        self._most = 0
        self._problem: str | None = None
        self._step: tuple[str, float] | None = None

    def problem(self) -> str | None:
        """Why nothing is folded now, or None."""
        return self._problem or self._lasting(SLOW_SECONDS)

    def stuck(self) -> str | None:
        """What neither ends nor fails, though all that it waits for is bounded in time; only a new process helps."""
        return self._lasting(STUCK_SECONDS)

    def judged(self, records: Iterable[Arrived]) -> Judged:
        """What records are. Any thread may ask, also while a batch is worked."""
        return [(record, judge(self._domain, record)) for record in records]

    async def work(self, judged: Judged, published: Published) -> None:
        """Works until rows are committed and published, whatever fails meanwhile; the batch may then be acknowledged.

        What is none of our events is set aside first, so that it is never lost; a crash may set it aside once more.
        """
        good = await self._patiently(partial(self._sort_out, judged, published))
        if good:
            await self._patiently(partial(self._fold, good))

    def _lasting(self, most: float) -> str | None:
        if self._step is None or (lasts := self._clock() - self._step[1]) < most:
            return None
        return f"{self._step[0]} takes {lasts:.0f} s"

    def _begin(self, step: str) -> None:
        self._step = (step, self._clock())

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Repeats some work until it succeeds."""
        failures = 0
        while True:
            try:
                done = await work()
                self._problem = None
                return done
            except Fenced as error:
                log.info("another worker was faster: %s", error)
            except ProjectionError as error:
                self._problem = str(error)
                log.warning("the projection waits: %s", error)
            except Exception as error:
                self._problem = f"{type(error).__name__}: {error}"
                log.exception("the projection waits after an unforeseen error")
            finally:
                self._step = None
            await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1

    async def _sort_out(self, judged: Judged, published: Published) -> list[Placed]:
        """The events of a batch, after everything else in it was set aside."""
        if max((one.position for _, one in judged if isinstance(one, Placed)), default=0) > self._most:
            self._begin("asking for the ends of the topic")
            self._most = await published() + IN_FLIGHT
        self._begin("reading the positions")
        good, bad = sorted_out(judged, await self._projector.marks(), self._most)
        if bad:
            self._begin("setting records aside")
            await self._publisher.dead(bad)
        for letter in bad:
            log.warning("set aside %s: %s", letter.origin, letter.reason)
        self._dead.inc(len(bad))
        return good

    async def _fold(self, events: Sequence[Placed]) -> None:
        with BATCH_SECONDS.labels(self._domain.name).time():
            self._begin("folding and committing a batch")
            with COMMIT_SECONDS.labels(self._domain.name).time():
                applied = await self._projector.apply(events)
            self._moved()
            tell_parked(applied)
            self._begin("publishing rows")
            await publish(self._domain, self._database, self._publisher, applied)
        EVENTS.labels(self._domain.name).inc(len(applied.fresh))
        BATCH_EVENTS.labels(self._domain.name).observe(len(events))
        if log.isEnabledFor(logging.DEBUG):
            for event in applied.fresh:
                self._lines.write(folded(event))
        for partition, last in lasts(applied.fresh).items():
            POSITION.labels(self._domain.name, partition).set(last.position)


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
