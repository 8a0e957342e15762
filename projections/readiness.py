"""What the process of a projection says of itself: why it does not go on, if it does not."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

# Of all that a read side checks, what the projection is made of.
CHECKS = ("projection", "events topic")
SECONDS = 3.0
LONGEST = 300

Asked = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Problem:
    """`seconds` is for how long it has been seen, in whatever words: at least so long it is there."""

    why: str
    seconds: float


class Readiness:
    """Asks again and again; an answer that does not come in time is a problem, too."""

    def __init__(self, ask: Asked, clock: Callable[[], float] = time.monotonic) -> None:
        """`ask` returns what a readiness check says that is not well, and None when all is."""
        self._ask, self._clock = ask, clock
        self._since: float | None = None

    async def look(self) -> Problem | None:
        try:
            async with asyncio.timeout(SECONDS):
                return self.seen(of_the_projection(await asyncio.to_thread(self._ask)))
        except TimeoutError:
            return self.seen(f"its health port has not answered for {SECONDS:.0f} s")

    def seen(self, why: str | None) -> Problem | None:
        """A problem as old as the first of those that were seen one after another."""
        if why is None:
            self._since = None
            return None
        now = self._clock()
        self._since = now if self._since is None else self._since
        return Problem(why[:LONGEST], round(now - self._since, 1))


def of_the_projection(said: str | None) -> str | None:
    """What is wrong with the projection; what else a read side lacks does not hold it up."""
    if said is None:
        return None
    try:
        checks = json.loads(said)["checks"]
        reasons = [f"{name}: {checks[name]}" for name in CHECKS if checks.get(name, "ok") != "ok"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return said
    return "; ".join(reasons) or None
