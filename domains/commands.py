"""headrace replay"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.json import JSON
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from domains.aggregates import Folded
from domains.codec import decode
from domains.discovery import discover
from domains.errors import DomainError
from domains.kernel import Domain
from domains.opening import keys_of, plain
from domains.plan import events_database
from domains.replaying import End, changed, fold, in_utc, replayed
from eventstore.console import store_errors
from eventstore.personal.keys import Keys
from eventstore.postgres import PostgresStore
from eventstore.records import RecordedEvent
from eventstore.store import EventStore
from infra.console import Exit, fail, out, show_json
from infra.native import here
from infra.plan import OPERATOR
from infra.postgres import conninfo

app = typer.Typer()
INDENT = 6


@dataclass(frozen=True, slots=True)
class Replay:
    """A stream, where to read it, up to where, and how to show it."""

    domain: Domain
    stream: str
    store: EventStore
    keys: Keys | None
    ends: Sequence[End]
    follow: bool
    as_json: bool

    async def state(self) -> int:
        """Shows the state; while it follows, each time that it has changed. Returns the version shown last."""
        folded = Folded(self.domain.decider.initial)
        async for page in replayed(self.store, self.stream, self.ends, follow=self.follow):
            folded = fold(self.domain, folded, page)
            if self.follow:
                await self._show_state(folded)
        if folded.version and not self.follow:
            await self._show_state(folded)
        return folded.version

    async def _show_state(self, folded: Folded) -> None:
        [fields] = await plain([folded.state], self.keys)
        show_json(fields) if self.as_json else out.print_json(data=fields)

    async def events(self) -> int:
        """Shows the events. Returns the version shown last."""
        version = 0
        async for page in replayed(self.store, self.stream, self.ends, follow=self.follow):
            for event in page:
                [data] = await plain([decode(self.domain, event)], self.keys)
                show_event(event, data, self.as_json)
                version = event.version
        return version

    async def changes(self, since: int) -> int:
        """Shows what has changed after a version. Returns the version that it was compared with."""
        version, later, found = await changed(self.domain, self.store, self.keys, self.stream, since, self.ends)
        if version and version < since:
            raise fail(f"{self.stream} has no version {since} up to there, only {version}", Exit.NOT_FOUND)
        if self.as_json and version:
            show_json({"stream": self.stream, "from": since, "to": version, "changes": [*map(asdict, found)]})
        elif version:
            for event in later:
                out.print(headline(event))
            table = Table("field", f"version {since}", f"version {version}")
            for each in found:
                table.add_row(escape(each.field), f"[red]{shown(each.was)}[/]", f"[green]{shown(each.became)}[/]")
            out.print(table if found else f"nothing has changed since version {since}")
        return version


@app.command()
def replay(  # noqa: PLR0917  # they are options
    stream: Annotated[str, typer.Argument(help="For example orders-536365.")],
    state: Annotated[bool, typer.Option("--state", help="Print the folded state instead of the events.")] = False,
    diff: Annotated[
        int | None, typer.Option(min=0, metavar="VERSION", help="Print what changed in the state since this version.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION|TYPE|TIME",
            help="Stop after this version, or after the first event of this type, or before the first later than this.",
        ),
    ] = None,
    to_version: Annotated[int | None, typer.Option(min=1, help="Stop after this version.")] = None,
    to_time: Annotated[datetime | None, typer.Option(help="Stop before the first event later than this (UTC).")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new events until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Plain JSON on stdout, one line per event.")] = False,
) -> None:
    """Replay a stream from the event store: its events as they fold, the state they make, or what changed in it."""
    domain = domain_of(stream)
    if diff is not None and (state or follow):
        raise fail("--diff tells of two versions that are there: without --state and --follow", Exit.USAGE)
    try:
        ends = [End(version=to_version), End(time=to_time and in_utc(to_time))]
        ends += [End.of(domain, until)] if until is not None else []
    except ValueError as error:
        raise fail(str(error), Exit.USAGE) from None

    async def work(store: EventStore, keys: Keys | None) -> int:
        asked = Replay(domain, stream, store, keys, ends, follow, as_json)
        if diff is not None:
            return await asked.changes(diff)
        return await (asked.state() if state else asked.events())

    if not carried_out(domain, work, follow=follow):
        raise fail(f"there is no event in stream {stream} up to there", Exit.NOT_FOUND)


def carried_out(domain: Domain, work: Callable[[EventStore, Keys | None], Awaitable[int]], *, follow: bool) -> int:
    """Works as a reader of the store; failures end the command. Who follows ends it when he has seen enough."""

    async def run() -> int:
        person = here().settings(OPERATOR)
        place = conninfo(person, events_database(domain))
        async with PostgresStore.open(place) as store, keys_of(domain, person) as keys:
            return await work(store, keys)

    with store_errors():
        try:
            return asyncio.run(run())
        except KeyboardInterrupt:
            raise typer.Exit(Exit.OK if follow else Exit.INTERRUPTED) from None
        except DomainError as error:
            raise fail(str(error)) from None


def domain_of(stream: str) -> Domain:
    """The domain whose stream this is; a domain's name may contain a hyphen, so the longest name wins."""
    known = discover()
    names = [name for name in known if stream.startswith(f"{name}-")]
    if not names:
        raise fail(f"{stream} is no stream of {', '.join(known)}", Exit.NOT_FOUND, "headrace replay orders-536365")
    return known[max(names, key=len)]


def show_event(event: RecordedEvent, data: dict[str, Any], as_json: bool) -> None:
    if as_json:
        told = {
            "version": event.version,
            "position": event.position,
            "type": event.type,
            "time": event.time.isoformat(),
        }
        return show_json({**told, "id": str(event.id), "actor": event.metadata.actor, "data": data})
    out.print(headline(event))
    lines = JSON.from_data(data).text.split("\n")
    return out.print(Text("\n").join(Text(" " * INDENT) + line for line in lines))


def headline(event: RecordedEvent) -> str:
    actor = f"  by {escape(event.metadata.actor)}" if event.metadata.actor else ""
    return (
        f"[bold yellow]{event.version:>4}[/]  [dim]{event.time:%Y-%m-%d %H:%M:%S}[/]  "
        f"[bold cyan]{escape(event.type)}[/]  [dim]position {event.position}{actor}[/]"
    )


def shown(value: Any) -> str:
    return (
        ""
        if value is None
        else escape(value if isinstance(value, str) else JSON.from_data(value, indent=None).text.plain)
    )
