"""headrace bench http | gateway | overload | visible: they join the measurements of the store."""

import typer

from gateway.bench import end_to_end, overload, proxying, visible  # noqa: F401  # they register their commands

app = typer.Typer()
