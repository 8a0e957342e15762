"""headrace store | bench: whoever adds subcommands is imported here."""

import typer

from eventstore import detaching, proving, reading  # noqa: F401  # they register their commands
from eventstore.bench import relay  # noqa: F401  # it registers its command
from eventstore.console import store
from eventstore.personal import commands as personal  # noqa: F401  # it registers its commands
from infra.bench.shown import bench

app = typer.Typer()
app.add_typer(store, name="store")
app.add_typer(bench, name="bench")
