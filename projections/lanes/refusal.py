"""Whether Kafka answers a lane, and refuses what it asks for."""

import time
from collections.abc import Callable

CURRENT_SECONDS = 15.0  # clients ask again, and are refused again, more often than this
STUCK_SECONDS = 45.0  # within a minute of the loss of a right, which may take some seconds to show


class Refusal:
    """What Kafka refuses. Silence is none: an outage in the midst of it ends it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._why: str | None = None
        self._since = self._last = 0.0
        self._denied = False

    def refused(self, why: str, *, denied: bool) -> None:
        """`denied`: a right is missing, which only people give back; all else may mend itself."""
        if self.problem() is None or not (self._denied and denied):
            self._since = self._clock()
        self._why, self._last, self._denied = why, self._clock(), denied

    def over(self) -> None:
        self._why = None

    def problem(self) -> str | None:
        """What is refused now, or None."""
        return self._why if self._clock() - self._last < CURRENT_SECONDS else None

    def stuck(self) -> str | None:
        """The right that was missing again and again for long, or None."""
        why, lasts = self.problem(), self._last - self._since
        return f"{why}, again and again for {lasts:.0f} s" if why and lasts >= STUCK_SECONDS else None
