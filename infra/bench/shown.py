"""How measurements are asked for and shown."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.table import Table

from infra.console import err, out, show_json

bench = typer.Typer(no_args_is_help=True, help="Measure what we have made beside what others have, in one run.")

AsJson = Annotated[bool, typer.Option("--json", help="Plain JSON on stdout.")]
Rounds = Annotated[int, typer.Option(min=1, max=99, help="Each figure is the median of so many rounds.")]
Seconds = Annotated[float, typer.Option(min=0.1, max=3600, help="How long each round of each side takes.")]


def told(what: str) -> None:
    """A line that says how far it is, for whoever looks on."""
    if err.is_terminal:
        err.print(f"[dim]{what}[/]")


def show(title: str, found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return show_json(rounded(found))
    table = Table(title, "value", show_header=True)
    for name, value in flat(rounded(found)):
        table.add_row(name, str(value))
    return out.print(table)


def flat(found: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in found.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", value


def rounded(found: dict[str, Any]) -> dict[str, Any]:
    return {name: rounded(value) if isinstance(value, dict) else short(value) for name, value in found.items()}


def short(value: object) -> object:
    """Three figures that mean something."""
    if not isinstance(value, float):
        return value
    return round(value) if value >= 1000 else float(f"{value:.3g}")
