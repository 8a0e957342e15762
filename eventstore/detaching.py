"""headrace store ranges | detach | attach"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from rich.table import Table

from eventstore.console import AsJson, Files, Name, Place, place, run, store
from eventstore.evidence.postgres import PostgresLedger
from eventstore.link import connect
from eventstore.proving import bar, told
from eventstore.ranges.moving import Mover, Range, ranges
from infra.console import out, show_json

T = TypeVar("T")
Folder = Annotated[
    Path, typer.Option(help="The folder that gets the files.", exists=True, file_okay=False, resolve_path=True)
]


@store.command("ranges")
def ranges_command(name: Name = None, as_json: AsJson = False) -> None:
    """The ranges of the log, and the files of those that are detached."""

    async def action() -> list[Range]:
        async with await connect(place(name).conninfo()) as connection:
            return await ranges(connection)

    show(run(action), as_json)


@store.command()
def detach(
    before: Annotated[int, typer.Option(min=2, help="Only ranges that end before this position.")],
    to: Annotated[
        Path, typer.Option(help="The folder that gets the files.", exists=True, file_okay=False, resolve_path=True)
    ],
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Take old ranges of the log out of the database, into files that were held against their seals.

    Whoever then needs their events is refused with a sentence. Exit 5: a range is not what was sealed.
    """
    show(moved(place(name), lambda mover, where: mover.detach(to, where.name, before)), as_json)


@store.command()
def attach(files: Files = None, name: Name = None, as_json: AsJson = False) -> None:
    """Bring the newest detached range back from its file. Exit 5: the file does not hold what was sealed."""
    show([moved(place(name), lambda mover, _: mover.attach(files))], as_json)


def moved(where: Place, work: Callable[[Mover, Place], Awaitable[T]]) -> T:
    async def action() -> T:
        with told(), bar() as shown:
            task = shown.add_task("checking", total=None)

            def progress(done: int, total: int) -> None:
                shown.update(task, completed=done, total=total)

            async with mover(where, progress) as opened:
                return await work(opened, where)

    return run(action)


@asynccontextmanager
async def mover(where: Place, progress: Callable[[int, int], None]) -> AsyncIterator[Mover]:
    """A mover with the rights of the owner. A range takes as long as it takes."""
    given = where.conninfo(where.owner)
    options = f"{conninfo_to_dict(given).get('options') or ''} -c statement_timeout=0"
    async with (
        await connect(make_conninfo(given, options=options)) as connection,
        PostgresLedger.open(where.conninfo()) as ledger,
    ):
        yield Mover(connection, ledger, progress)


def show(found: list[Range], as_json: bool) -> None:
    if as_json:
        return show_json({"ranges": [{"first": one.first, "last": one.last, "file": one.file} for one in found]})
    table = Table("first", "last", "where")
    for one in found:
        table.add_row(f"{one.first:,}", f"{one.last:,}", one.file or "in the database")
    return out.print(table)
