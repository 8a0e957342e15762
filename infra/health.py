"""Whether a process is ready, and whether it is alive: the sums of its checks."""

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

Check = Callable[[], str | None]


class Health:
    """The checks of one process. Each returns None when all is well, else the reason why not, at once."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._vital: dict[str, Check] = {}

    def check(self, name: str, check: Check) -> None:
        """Adds a check, or replaces the one of that name."""
        self._checks[name] = check

    def reasons(self) -> dict[str, str | None]:
        """Each check with what it says now."""
        return {name: outcome(name, check) for name, check in self._checks.items()}

    def vital(self, name: str, check: Check) -> None:
        """Adds a check of what only a new process can mend; the outage of a dependency is never that."""
        self._vital[name] = check

    def deadly(self) -> dict[str, str]:
        """Each vital check that is not well, with what it says now."""
        return {name: why for name, check in self._vital.items() if (why := outcome(name, check)) is not None}

    @property
    def ready(self) -> bool:
        return not any(self.reasons().values())


def outcome(name: str, check: Check) -> str | None:
    try:
        return check()
    except Exception:
        log.exception("the readiness check %s failed", name)
        return "the check itself failed; the log says why"
