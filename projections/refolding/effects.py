"""Stops a view that reaches for the world outside while events are folded anew.

Ports with effects are not there in a rebuild or a replay; this guard also sees what a view brings by itself: what
Python audits, in the thread that folds; a few doors of Python's own to what it does not audit; and, before anything is
folded, what a view's code names or holds of libraries in C, whose calls nobody sees: also a connection from before.

Not seen: writing to what is open already and is none of that (a file, a socket, a queue that another thread empties),
other libraries in C that open what they need without Python, and names that are only made while code runs.
"""

import _thread
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, wraps
from threading import get_ident
from types import ModuleType
from typing import Any, NoReturn, TypeVar

from psycopg import Connection
from psycopg._connection_base import BaseConnection

from projections.code import package, reached
from projections.errors import RebuildRefused
from projections.rows import AnyView

T = TypeVar("T")

REFUSED = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.system")
CHANGING = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "shutil.", "sqlite3.", "smtplib.")
HIDDEN = ("ctypes.", "os.putenv", "os.unsetenv", "os.kill", "signal.pthread_kill", "os.ch", "os.link", "os.symlink")
AUDITED = (*REFUSED, *CHANGING, *HIDDEN)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# All that psycopg does begins with one of these two; a thread could do what the one that folds may not.
DOORS: tuple[tuple[Any, str], ...] = (
    (BaseConnection, "_connect_gen"),
    (Connection, "wait"),
    (threading.Thread, "start"),
    (_thread, "start_new_thread"),
    (ThreadPoolExecutor, "submit"),
    (ProcessPoolExecutor, "submit"),
)
# The packages, by where their things say that they come from.
UNSEEN = {"psycopg", "psycopg_c", "psycopg_binary", "psycopg_pool", "confluent_kafka", "cimpl", "ctypes", "_ctypes"}


class Reached(RuntimeError):
    """A fold has reached for the world outside."""


class Guard:
    """Off, it costs one comparison for each thing that Python audits."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.reached: str | None = None
        sys.addaudithook(self._audit)
        for owner, name in DOORS:
            self._watch(owner, name)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.thread is None or self.thread != get_ident():
            return
        writes = event == "open" and bool(arguments[2] & WRITING)
        if writes or event.startswith(AUDITED):
            self._stop(event if not writes else f"open for writing {arguments[0]!r}")

    def _watch(self, owner: Any, name: str) -> None:
        kept = vars(owner)[name]
        door = kept.__func__ if isinstance(kept, classmethod) else kept

        @wraps(door)
        def watched(*given: Any, **more: Any) -> Any:
            if self.thread is not None and self.thread == get_ident():
                self._stop(f"{owner.__name__}.{name}")
            return door(*given, **more)

        setattr(owner, name, classmethod(watched) if isinstance(kept, classmethod) else watched)

    def _stop(self, what: str) -> NoReturn:
        self.reached = what
        raise Reached(what)


@cache
def guard() -> Guard:
    """The one of this process: an audit hook can't be taken back."""
    return Guard()


def guarded(view: AnyView) -> AnyView:
    """The same view, without effects: for folds that call it in the midst of what must be waited for.

    Raises `RebuildRefused`, as `harmless` does.
    """
    harmless(view)
    return replace(view, key_of=pure(view.key_of), project=pure(view.project))


@cache
def harmless(view: AnyView) -> None:
    """Raises `RebuildRefused` when a view's code names or holds what could have effects that nobody sees."""
    for way, one in reached(view.key_of, view.project):
        found = one.__name__ if isinstance(one, ModuleType) else package(one if callable(one) else type(one))
        if found.partition(".")[0] in UNSEEN:
            raise RebuildRefused(f"a fold has no effects, but {view.name} reaches {way}, which is of {found}")


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
