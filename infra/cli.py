"""The command `headrace`: the commands that the installed packages announce under `headrace.commands`."""

import sys
from importlib.metadata import entry_points

import typer

ENTRY_POINT = "headrace.commands"

HELP = """Event-sourced microservices on Apache Kafka.

Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 conflict, 5 verification failed,
69 dependency down, 75 try again, 130 interrupted.
"""


def root(asked: str | None = None) -> typer.Typer:
    """All commands; or, if one is asked for and announced by its name, those of its module alone."""
    app = typer.Typer(name="headrace", help=HELP, no_args_is_help=True, pretty_exceptions_enable=False)
    points = entry_points(group=ENTRY_POINT)
    for module in sorted({point.value: point for point in points.select(name=asked or "") or points}.values()):
        app.add_typer(module.load())
    return app


def main() -> None:
    try:
        root(next((word for word in sys.argv[1:] if not word.startswith("-")), None))()
    except KeyboardInterrupt:
        sys.exit(130)  # it was still loading; a command that has begun says so by itself
