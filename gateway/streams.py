"""Answers without an end: how many each principal may have open at a time."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from infra.web import Problem

SECONDS = 5  # nobody knows when one of them ends


class Streams:
    """The streams that are open here. Those of a service are bounded, and nobody may have all of them."""

    def __init__(self, each: int) -> None:
        self._each, self._open = each, Counter[str]()

    @contextmanager
    def opened(self, key: str) -> Iterator[None]:
        """Counts one of this principal's while the block runs. Raises `Problem` 429 if that is one too many."""
        if self._open[key] >= self._each:
            raise self._refusal()
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]

    def _refusal(self) -> Problem:
        headers = {
            "retry-after": str(SECONDS),
            "ratelimit-policy": f'"streams";q={self._each};qu="concurrent-requests"',
        }
        detail = f"{self._each} streams at a time are allowed here"
        more: dict[str, Any] = {"violated-policies": ["streams"]}
        return Problem(429, "quota-exceeded", detail, headers=headers, **more)
