"""Whether a process is ready: the sum of its checks."""

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

Check = Callable[[], str | None]


class Health:
    """The checks of one process. Each returns None when all is well, else the reason why not, at once."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def check(self, name: str, check: Check) -> None:
        """Adds a check, or replaces the one of that name."""
        self._checks[name] = check

    def reasons(self) -> dict[str, str | None]:
        """Each check with what it says now."""
        return {name: outcome(name, check) for name, check in self._checks.items()}

    @property
    def ready(self) -> bool:
        return not any(self.reasons().values())


def outcome(name: str, check: Check) -> str | None:
    try:
        return check()
    except Exception:
        log.exception("the readiness check %s failed", name)
        return "the check itself failed; the log says why"
