"""Looks at all projections every few seconds, whoever is there, so that a page begins with what has been."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from domains.kernel import Domain
from eventstore.errors import EventStoreError
from eventstore.store import EventStore
from infra.beside import beside
from infra.health import Health
from projections.errors import ReadUnavailable
from projections.rows import AnyView
from projections.serving.tail import Tails
from projections.serving.views import Rebuild, Swap, Views
from projections.watch import Watched, Watcher

log = logging.getLogger(__name__)

SECONDS = 2.0
KEPT = 150


@dataclass(frozen=True, slots=True)
class Place:
    """One domain, and what is read of it."""

    domain: Domain
    store: EventStore
    views: Views
    tails: Tails
    watcher: Watcher


@dataclass(slots=True)
class Seen:
    """One projection as it was at the last look, and what it has been; `problem` is why there was no look since."""

    place: Place
    view: AnyView
    now: Watched | None = None
    problem: str | None = "it was not looked at yet"
    rebuild: Rebuild | None = None
    swap: Swap | None = None
    behind: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    rate: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))

    @property
    def name(self) -> str:
        return f"{self.place.domain.name}/{self.view.name}"

    @property
    def rebuilding(self) -> Rebuild | None:
        """A rebuild that goes on."""
        return self.rebuild if self.rebuild is not None and self.rebuild.goes_on else None

    @property
    def state(self) -> str:
        if self.problem or self.now is None:
            return "unknown"
        if self.now.parked:
            return "parked"
        return "behind" if self.now.events_behind else "current"


class Watch:
    """What is seen of each projection, by its name."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self.seen = {
            (name, view.name): Seen(place, view) for name, place in places.items() for view in place.domain.views
        }

    @asynccontextmanager
    async def running(self, health: Health) -> AsyncIterator[None]:
        async with beside(health, {"looks at the projections": self._run()}):
            yield

    async def look(self) -> None:
        """Looks at all domains at once: one that does not answer keeps no other waiting."""
        await asyncio.gather(*(self._look(name, place) for name, place in self._places.items()))

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(SECONDS)

    def _unseen(self, name: str, place: Place, problem: str) -> None:
        for view in place.domain.views:
            self.seen[name, view.name].problem = problem

    async def _look(self, name: str, place: Place) -> None:
        try:
            found, (going, swaps) = await place.watcher.look(), await place.views.rebuilds()
        except (EventStoreError, ReadUnavailable) as error:
            log.warning("no look at %s: %s", name, error)
            self._unseen(name, place, str(error))
            return
        except Exception as error:
            log.exception("no look at %s: nobody foresaw this", name)
            self._unseen(name, place, f"{type(error).__name__}: {error}")
            return
        for one in found:
            seen = self.seen[name, one.view]
            seen.now, seen.problem = one, None
            seen.rebuild, seen.swap = going.get(one.view), swaps.get(one.view)
            seen.behind.append(one.events_behind)
            seen.rate.append(one.rate)
