"""Stops a view that reaches for the world outside while events are folded anew.

Ports with effects are not there in a rebuild or a replay; this guard also sees what a view brings by itself: what
Python audits, in the thread that folds; a few doors of Python's own to what it does not audit; and, before anything is
folded, what a view's code, its events and its upcasters name or hold of libraries in C, whose calls nobody sees, and
of event loops, which call when nobody looks any more. So far as this project's packages and the view's own lead there.

Not seen: writing to what is open already and is none of that (a file, a socket, a queue that another thread empties),
other libraries in C that open what they need without Python, what a helper in a package of others does with such a
library, and names that are only made while code runs: a connection that is found in this way acts through its doors
alone, an event loop not at all unless somebody hands it over.
"""

import os
import sys
from asyncio import _get_running_loop, _set_running_loop
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, wraps
from importlib import import_module
from threading import get_ident
from types import ModuleType
from typing import Any, NoReturn, TypeVar

from domains.kernel import Domain
from projections.code import begins, package, plain, reached
from projections.errors import RebuildRefused, Unwatched
from projections.rows import AnyView

T = TypeVar("T")

REFUSED = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.system")
CHANGING = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "shutil.", "sqlite3.", "smtplib.")
HIDDEN = ("ctypes.", "os.putenv", "os.unsetenv", "os.kill", "signal.pthread_kill", "os.ch", "os.link", "os.symlink")
AUDITED = (*REFUSED, *CHANGING, *HIDDEN)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# All that psycopg does begins with one of these two; a thread could do what the one that folds may not.
# They are sought when somebody folds anew: whoever only imports this needs none of them.
DOORS: tuple[tuple[str, str, str], ...] = (
    ("psycopg._connection_base", "BaseConnection", "_connect_gen"),
    ("psycopg", "Connection", "wait"),
    ("threading", "Thread", "start"),
    ("_thread", "", "start_new_thread"),
    ("concurrent.futures", "ThreadPoolExecutor", "submit"),
    ("concurrent.futures", "ProcessPoolExecutor", "submit"),
    ("asyncio.events", "BaseDefaultEventLoopPolicy", "get_event_loop"),
)
# The packages, by where their things say that they come from.
LIBRARIES = {"psycopg", "psycopg_c", "psycopg_binary", "psycopg_pool", "confluent_kafka", "cimpl", "ctypes", "_ctypes"}
UNSEEN = LIBRARIES | {"asyncio", "_asyncio", "uvloop"}


# Where nothing was found: kept, so that nothing else gets these ids.
LOOKED = dict[tuple[int, ...], tuple[object, ...]]()


class Reached(RuntimeError):
    """A fold has reached for the world outside."""


class Guard:
    """Off, it costs one comparison for each thing that Python audits. Raises `Unwatched` when a door is gone."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.reached: str | None = None
        doors = [door(*names) for names in DOORS]
        sys.addaudithook(self._audit)
        for owner, name in doors:
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


def door(module: str, owner: str, name: str) -> tuple[Any, str]:
    try:
        place = import_module(module)
        # Python 3.14 has begun to call its own classes private.
        place = (getattr(place, owner, None) or getattr(place, f"_{owner}")) if owner else place
        vars(place)[name]
    except (ImportError, AttributeError, KeyError):
        where = ".".join(filter(None, (module, owner, name)))
        raise Unwatched(
            f"nothing can be folded anew: of a view's effects, {where} is not there to be watched"
        ) from None
    return place, name


@cache
def guard() -> Guard:
    """The one of this process: an audit hook can't be taken back."""
    return Guard()


def guarded(view: AnyView, domain: Domain | None = None) -> AnyView:
    """The same view, without effects: for folds that call it in the midst of what must be waited for.

    Raises `RebuildRefused`, as `harmless` does.
    """
    harmless(view, domain)
    return replace(view, key_of=pure(view.key_of), project=pure(view.project))


def harmless(view: AnyView, domain: Domain | None = None) -> None:
    """Raises `RebuildRefused` when a view's code names or holds what could have effects that nobody sees.

    With a domain, also what brings its events to the view is looked at.
    """
    given = (view.key_of, view.project, view.row) if domain is None else begins(domain, view)
    begin = tuple(plain(one, "guards", one) for one in given)
    if tuple(map(id, begin)) in LOOKED:
        return
    with refused() as guard:  # to look, what is imported when code runs is imported
        whole = [*reached(*begin)]
    if guard.reached is not None:
        raise RebuildRefused(f"a fold has no effects, but what {view.name} imports did {guard.reached}")
    for way, one in whole:
        found = one.__name__ if isinstance(one, ModuleType) else package(one if callable(one) else type(one))
        if found.partition(".")[0] in UNSEEN:
            raise RebuildRefused(f"a fold has no effects, but {view.name} reaches {way}, which is of {found}")
    LOOKED[tuple(map(id, begin))] = begin


def pure(call: Callable[..., T]) -> Callable[..., T]:
    def called(*given: Any) -> T:
        with refused() as guard:
            found = call(*given)
        if guard.reached is not None:
            raise Reached(guard.reached)
        return found

    called.guards = call  # type: ignore[attr-defined]
    return called


@contextmanager
def refused() -> Iterator[Guard]:
    """What is watched has no effect in this thread, and no event loop runs in it. Nothing may be awaited inside."""
    found = guard()
    loop, unwritten = _get_running_loop(), sys.dont_write_bytecode
    found.thread, found.reached = get_ident(), None
    _set_running_loop(None)
    sys.dont_write_bytecode = True  # what is imported for the first time is no effect
    try:
        yield found
    finally:
        sys.dont_write_bytecode = unwritten
        _set_running_loop(loop)
        found.thread = None
