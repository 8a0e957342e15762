"""How commands speak: results on stdout, everything else on stderr, plain when nobody looks."""

import errno
import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import IntEnum

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from infra.errors import InfraError, MissingTool, NotRunning, SettingsError, StartFailed

# What steers a terminal, and what no terminal can be told. Line ends and tabs are harmless.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def visible(text: str) -> str:
    """A text in which nothing steers the terminal: records and events may come from strangers. JSON stays the same."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class PlainConsole(Console):
    """Shows text as it is: `:id:` becomes no picture, and an escape sequence no deed."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=True, highlight=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for part in super().render(renderable, options):
            yield part if part.control else Segment(visible(part.text), part.style)


out, err = PlainConsole(), PlainConsole(stderr=True)


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNVERIFIED = 5
    DEPENDENCY_DOWN = 69
    TRY_AGAIN = 75
    INTERRUPTED = 130


REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})
CODES: dict[type[InfraError], Exit] = {
    SettingsError: Exit.USAGE,
    MissingTool: Exit.DEPENDENCY_DOWN,
    NotRunning: Exit.DEPENDENCY_DOWN,
    StartFailed: Exit.DEPENDENCY_DOWN,
}


def show_json(value: object) -> None:
    """One JSON document on stdout, and nothing else. Times are those of RFC 3339."""
    sys.stdout.write(visible(json.dumps(value, ensure_ascii=False, default=as_text)) + "\n")
    sys.stdout.flush()


def as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def printable(text: str) -> str:
    """Nothing of it speaks to the terminal: control characters are escaped."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def fail(sentence: str, code: Exit = Exit.FAILURE, hint: str | None = None) -> typer.Exit:
    """Says what went wrong and how to mend it; raise what it returns."""
    err.print(sentence, style="red", markup=False)
    if hint:
        err.print(f"try: {hint}", markup=False)
    return typer.Exit(code)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turns our own errors, and what the machine refuses, into one sentence and an exit code."""
    try:
        yield
    except InfraError as error:
        code = next((code for kind, code in CODES.items() if isinstance(error, kind)), Exit.FAILURE)
        raise fail(str(error), code, error.hint) from None
    except OSError as error:
        # Of a full disk or a folder that is not ours nothing more need be known; anything else nobody foresaw.
        if error.errno not in REFUSALS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise fail(f"{where}{error.strerror}", Exit.FAILURE, "headrace doctor") from None
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None
