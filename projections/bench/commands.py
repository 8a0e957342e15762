"""headrace bench project | rebuild | relay | query: they join the measurements of the store."""

import typer

from projections.bench import keys, lanes, query, rebuild  # noqa: F401  # they register their commands

app = typer.Typer()
