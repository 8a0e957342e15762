"""When to leave a service in peace: a breaker for each instance, and a budget for repeats. Times in seconds."""

from dataclasses import dataclass
from random import uniform

EARNED = 0.1
MOST_REPEATS = 10.0


@dataclass(slots=True)
class Breaker:
    """Opens after `failures` in a row. While open it lets one request through now and then, ever more rarely."""

    failures: int = 5
    shortest: float = 0.5
    longest: float = 4.0
    _failed: int = 0
    _pause: float = 0.0
    _until: float = 0.0

    def allows(self, now: float) -> bool:
        """Whether a request may be sent."""
        return self._failed < self.failures or now >= self._until

    def begins(self, now: float) -> None:
        """A request is sent. If it is the one that tries an open breaker, others wait for what becomes of it."""
        if self._failed >= self.failures:
            self._until = now + self._pause

    def succeeded(self) -> None:
        if self._failed:
            self._failed, self._pause, self._until = 0, 0.0, 0.0

    def failed(self, now: float) -> None:
        self._failed += 1
        if self._failed >= self.failures:
            self._pause = min(max(self.shortest, self._pause * 2), self.longest)
            # Several gateways must not come back all at once.
            self._until = now + self._pause * uniform(0.8, 1.0)  # noqa: S311  # no secret

    def told(self, now: float) -> dict[str, object]:
        """How it stands, for operators."""
        state = "set aside" if self._failed >= self.failures else "failing" if self._failed else "well"
        return {"state": state, "failures": self._failed, "asked_again_in": round(self.waits(now), 1)}

    def waits(self, now: float) -> float:
        """For how long it will let nothing through."""
        return max(0.0, self._until - now)


@dataclass(slots=True)
class Budget:
    """Repeats are at most a tenth of what is asked, so that they cannot become the load."""

    _left: float = MOST_REPEATS

    def earn(self) -> None:
        if self._left < MOST_REPEATS:
            self._left = min(self._left + EARNED, MOST_REPEATS)

    def spend(self) -> bool:
        """Whether one more repeat is allowed; it is counted."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
