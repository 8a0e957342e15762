"""The command `headrace`: the commands that the installed packages announce under `headrace.commands`."""

from importlib.metadata import entry_points

import typer

ENTRY_POINT = "headrace.commands"

HELP = """Event-sourced microservices on Apache Kafka.

Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 conflict, 5 verification failed,
69 dependency down, 75 try again, 130 interrupted.
"""


def root() -> typer.Typer:
    app = typer.Typer(name="headrace", help=HELP, no_args_is_help=True, pretty_exceptions_enable=False)
    for point in sorted(entry_points(group=ENTRY_POINT), key=lambda point: point.name):
        app.add_typer(point.load())
    return app


def main() -> None:
    root()()
