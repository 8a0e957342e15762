"""Work that is repeated until it succeeds, and what it waits for meanwhile."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from projections.errors import Fenced, ProjectionError

log = logging.getLogger(__name__)

PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

T = TypeVar("T")


class Patience:
    """Repeats some work, one at a time, and tells what fails and which step lasts."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.problem: str | None = None
        self._step: tuple[str, float] | None = None

    def begin(self, step: str) -> None:
        self._step = (step, self._clock())

    def lasting(self, most: float) -> str | None:
        """The step that takes longer, or None."""
        if self._step is None or (lasts := self._clock() - self._step[1]) < most:
            return None
        return f"{self._step[0]} takes {lasts:.0f} s"

    async def until_done(self, work: Callable[[], Awaitable[T]]) -> T:
        failures = 0
        while True:
            try:
                done = await work()
                self.problem = None
                return done
            except Fenced as error:
                log.info("another worker was faster: %s", error)
            except ProjectionError as error:
                self.problem = str(error)
                log.warning("the projection waits: %s", error)
            except Exception as error:
                self.problem = f"{type(error).__name__}: {error}"
                log.exception("the projection waits after an unforeseen error")
            finally:
                self._step = None
            await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1
