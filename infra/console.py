"""How commands speak: results on stdout, everything else on stderr, plain when nobody looks."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import typer
from rich.console import Console

from infra.errors import InfraError, MissingTool, NotRunning, SettingsError, StartFailed

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


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


CODES: dict[type[InfraError], Exit] = {
    SettingsError: Exit.USAGE,
    MissingTool: Exit.DEPENDENCY_DOWN,
    NotRunning: Exit.DEPENDENCY_DOWN,
    StartFailed: Exit.DEPENDENCY_DOWN,
}


def show_json(value: object) -> None:
    """One JSON document on stdout, and nothing else."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def fail(sentence: str, code: Exit = Exit.FAILURE, hint: str | None = None) -> typer.Exit:
    """Says what went wrong and how to mend it; raise what it returns."""
    err.print(sentence, style="red", markup=False)
    if hint:
        err.print(f"try: {hint}", markup=False)
    return typer.Exit(code)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turns our own errors into one sentence and an exit code."""
    try:
        yield
    except InfraError as error:
        code = next((code for kind, code in CODES.items() if isinstance(error, kind)), Exit.FAILURE)
        raise fail(str(error), code, error.hint) from None
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None
