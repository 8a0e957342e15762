"""Stops a view that reaches for the world outside while events are folded anew.

Ports with effects are not there in a rebuild or a replay; this guard also sees what a view brings by itself.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from threading import get_ident
from typing import Any, TypeVar

from projections.rows import AnyView

T = TypeVar("T")

REFUSED = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.system")
CHANGING = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "shutil.", "sqlite3.", "smtplib.")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Reached(RuntimeError):
    """A fold has reached for the world outside."""


class Guard:
    """Off, it costs one comparison for each thing that Python audits."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.reached: str | None = None
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.thread is None or self.thread != get_ident():
            return
        writes = event == "open" and bool(arguments[2] & WRITING)
        if writes or event.startswith(REFUSED) or event.startswith(CHANGING):
            self.reached = event if not writes else f"open for writing {arguments[0]!r}"
            raise Reached(self.reached)


@cache
def guard() -> Guard:
    """The one of this process: an audit hook can't be taken back."""
    return Guard()


def guarded(view: AnyView) -> AnyView:
    """The same view, without effects: for folds that call it in the midst of what must be waited for."""
    return replace(view, key_of=pure(view.key_of), project=pure(view.project))


def pure(call: Callable[..., T]) -> Callable[..., T]:
    def called(*given: Any) -> T:
        with refused() as guard:
            found = call(*given)
        if guard.reached is not None:
            raise Reached(guard.reached)
        return found

    return called


@contextmanager
def refused() -> Iterator[Guard]:
    """No effect is possible in this thread. Nothing may be awaited inside."""
    found = guard()
    found.thread, found.reached = get_ident(), None
    try:
        yield found
    finally:
        found.thread = None
