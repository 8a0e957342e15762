"""headrace store stats | read | tail | export | migrate"""

import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from eventstore.cloudevents import encode_value
from eventstore.console import AsJson, Name, Place, place, run, store, store_errors
from eventstore.link import connect as connect_async
from eventstore.migrate import Roles, connect, missing
from eventstore.migrate import migrate as bring_up_to_date
from eventstore.postgres import PostgresStore
from eventstore.records import RecordedEvent
from eventstore.sizes import Sizes, sizes
from eventstore.store import EventStore
from infra.console import Exit, out, show_json

PAGE = 1000
PATIENCE_SECONDS = 10.0

Stream = Annotated[str | None, typer.Argument(help="A stream, for example orders-536365; all when left out.")]
After = Annotated[int, typer.Option(min=0, help="Only what comes after this version, or position of the log.")]
Category = Annotated[str | None, typer.Option(help="Only streams of this category.")]
Types = Annotated[list[str] | None, typer.Option("--type", help="Only events of this type; may be repeated.")]


@store.command()
def stats(name: Name = None, as_json: AsJson = False) -> None:
    """How large the store is: bytes by table and index, and for each event."""
    found = run(lambda: measured(place(name)))
    if as_json:
        return show_json({"events": found.events, "bytes": found.bytes, "tables": [asdict(t) for t in found.tables]})
    table = Table("table or index", "bytes", "bytes per event")
    for each in found.tables:
        table.add_row(f"[bold]{each.table}[/]", f"{each.bytes:,}", f"{found.per_event(each.bytes):.1f}")
        for index, size in each.indexes.items():
            table.add_row(f"  {index}", f"{size:,}", f"{found.per_event(size):.1f}")
    table.add_row(f"{found.events:,} events", f"{found.bytes:,}", f"{found.per_event(found.bytes):.1f}")
    return out.print(table)


async def measured(where: Place) -> Sizes:
    async with await connect_async(where.conninfo()) as connection:
        return await sizes(connection)


@store.command()
def read(  # noqa: PLR0917  # they are options
    stream: Stream = None,
    after: After = 0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    category: Category = None,
    types: Types = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Show recorded events, oldest first: of a stream, or of the log."""

    async def action() -> int:
        shown = 0
        async with PostgresStore.open(place(name).conninfo()) as opened:
            async for event in chosen(opened, stream, after, category, types):
                show(event, as_json)
                shown += 1
                if shown == limit:
                    break
        return shown

    if not run(action):
        raise typer.Exit(Exit.NOT_FOUND)


@store.command()
def tail(
    limit: Annotated[int, typer.Option(min=0, help="Begin with so many recorded events.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new events until Ctrl-C.")] = False,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Show the last events of the log."""

    async def action() -> None:
        async with PostgresStore.open(place(name).conninfo()) as opened:
            position = max(0, await opened.head() - limit)
            while True:
                async for event in chosen(opened, None, position):
                    show(event, as_json)
                    position = event.position
                if not follow:
                    return
                await opened.wait_beyond(position, PATIENCE_SECONDS)

    run(action)


@store.command()
def export(name: Name = None) -> None:
    """Write the whole log to stdout: CloudEvents, a line each, with their positions."""
    where = place(name)

    async def action() -> None:
        async with PostgresStore.open(where.conninfo()) as opened:
            async for event in chosen(opened, None, 0):
                sys.stdout.buffer.write(encode_value(event, f"/{where.name}") + b"\n")
        sys.stdout.buffer.flush()

    run(action)


@store.command()
def migrate(
    check: Annotated[bool, typer.Option("--check", help="Change nothing, say what is missing.")] = False,
    name: Name = None,
) -> None:
    """Bring the store's schema and rights to what this code needs; with --check exit 1 when something is missing."""
    with store_errors():
        where = place(name)
        roles = Roles(where.writer, where.readers)
        with connect(where.conninfo(where.owner), PATIENCE_SECONDS) as connection:
            found = missing(connection, roles) if check else bring_up_to_date(connection, roles)
    out.print("\n".join(found) or "nothing is missing", markup=False)
    if check and found:
        raise typer.Exit(Exit.FAILURE)


async def chosen(
    opened: EventStore, stream: str | None, after: int, category: str | None = None, types: list[str] | None = None
) -> AsyncIterator[RecordedEvent]:
    """The events asked for, page by page, up to what is there now."""
    while True:
        page = await (
            opened.read_log(after=after, limit=PAGE)
            if stream is None
            else opened.read_stream(stream, after=after, limit=PAGE)
        )
        for event in page:
            if (not types or event.type in types) and (not category or event.stream.startswith(f"{category}-")):
                yield event
        if len(page) < PAGE:
            return
        after = page[-1].position if stream is None else page[-1].version


def show(event: RecordedEvent, as_json: bool) -> None:
    if as_json:
        return show_json(orjson.loads(encode_value(event, "")))
    out.print(
        f"[bold]{event.position:>8}[/]  [dim]{event.time:%Y-%m-%d %H:%M:%S}[/]  "
        f"{escape(event.stream)} [dim]{event.version}[/]  [cyan]{escape(event.type)}[/]"
    )
    return out.print(event.data.decode(errors="backslashreplace"), markup=False)
