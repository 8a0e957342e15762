"""headrace store stats | read | tail | export | import | migrate"""

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated

import orjson
import typer
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from eventstore.cloudevents import encode_line, encode_value
from eventstore.console import AsJson, Name, Place, place, run, store, store_errors
from eventstore.link import connect as connect_async
from eventstore.migrate import connect, missing
from eventstore.migrate import migrate as bring_up_to_date
from eventstore.postgres import PostgresStore
from eventstore.records import EVERYTHING, RecordedEvent, Selection
from eventstore.sizes import Sizes, sizes
from eventstore.store import EventStore
from eventstore.transfer import bring_in
from infra.console import Exit, err, fail, out, show_json

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
    to_version: Annotated[int | None, typer.Option(min=1, help="Of a stream: up to this version.")] = None,
    to_time: Annotated[datetime | None, typer.Option(help="Of a stream: what was recorded by then (UTC).")] = None,
    backward: Annotated[bool, typer.Option("--backward", help="Of a stream: the newest first.")] = False,
    category: Category = None,
    types: Types = None,
    correlation: Annotated[str | None, typer.Option(help="Of the log: what this correlation id belongs to.")] = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Show recorded events, oldest first: of a stream, or of the log."""
    if (category or correlation) if stream else (to_version or to_time or backward):
        raise fail("a stream has versions and times; the log has categories and correlation ids", Exit.USAGE)
    asked = (
        InLog(after, Selection(category, types or (), correlation))
        if stream is None
        else InStream(stream, tuple(types or ()), after, to_version, to_time and in_utc(to_time), backward)
    )

    async def action() -> int:
        shown = 0
        async with PostgresStore.open(place(name).conninfo()) as opened:
            async for event in asked.events(opened):
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
                async for event in InLog(position).events(opened):
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
            async for event in InLog().events(opened):
                sys.stdout.buffer.write(encode_line(event, f"/{where.name}"))
        sys.stdout.buffer.flush()

    run(action)


@store.command("import")
def import_(
    file: Annotated[typer.FileBinaryRead, typer.Argument(help="What `export` wrote; - is stdin.")],
    name: Name = None,
) -> None:
    """Bring an exported log into an empty store, with its positions and times; all of it or nothing."""
    with store_errors():
        where = place(name)
        with connect(where.conninfo(where.owner), PATIENCE_SECONDS) as connection, counting() as counted:
            bring_up_to_date(connection, where.roles)
            events = bring_in(connection, file, counted)
    out.print(f"{events:,} events, read back and compared")


@contextmanager
def counting() -> Iterator[Callable[[int], None]]:
    """Shows, on a terminal, how many there are and how fast they come."""
    columns = ("[progress.description]{task.description}", MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as shown:
        task = shown.add_task("events", total=None)
        yield lambda count: shown.update(task, completed=count)


@store.command()
def migrate(
    check: Annotated[bool, typer.Option("--check", help="Change nothing, say what is missing.")] = False,
    name: Name = None,
) -> None:
    """Bring the store's schema and rights to what this code needs; with --check exit 1 when something is missing."""
    with store_errors():
        where = place(name)
        with connect(where.conninfo(where.owner), PATIENCE_SECONDS) as connection:
            found = missing(connection, where.roles) if check else bring_up_to_date(connection, where.roles)
    out.print("\n".join(found) or "nothing is missing", markup=False)
    if check and found:
        raise typer.Exit(Exit.FAILURE)


def in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=moment.tzinfo or UTC)


@dataclass(frozen=True, slots=True)
class InLog:
    """Events of the log, page by page, up to what is there now."""

    after: int = 0
    only: Selection = EVERYTHING

    async def events(self, opened: EventStore) -> AsyncIterator[RecordedEvent]:
        after = self.after
        while page := await opened.read_log(after=after, only=self.only, limit=PAGE):
            for event in page:
                yield event
            after = page[-1].position


@dataclass(frozen=True, slots=True)
class InStream:
    """Events of a stream, page by page."""

    stream: str
    types: Sequence[str]
    after: int
    until: int | None
    recorded_until: datetime | None
    backward: bool

    async def events(self, opened: EventStore) -> AsyncIterator[RecordedEvent]:
        after, until = self.after, self.until
        while page := await opened.read_stream(
            self.stream,
            after=after,
            until=until,
            recorded_until=self.recorded_until,
            backward=self.backward,
            limit=PAGE,
        ):
            for event in page:
                if not self.types or event.type in self.types:
                    yield event
            if self.backward:
                until = page[-1].version - 1
            else:
                after = page[-1].version


def show(event: RecordedEvent, as_json: bool) -> None:
    if as_json:
        return show_json(orjson.loads(encode_value(event, "")))
    out.print(
        f"[bold]{event.position:>8}[/]  [dim]{event.time:%Y-%m-%d %H:%M:%S}[/]  "
        f"{escape(event.stream)} [dim]{event.version}[/]  [cyan]{escape(event.type)}[/]"
    )
    return out.print(event.data.decode(errors="backslashreplace"), markup=False)
