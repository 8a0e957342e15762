"""headrace projection rebuild | rollback | replay"""

import asyncio
import getpass
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from domains.errors import UnreadableEvent
from domains.kernel import Domain
from domains.plan import events_database
from domains.replaying import bare, in_utc, known_types
from eventstore.errors import EventStoreError
from eventstore.postgres import PostgresStore
from eventstore.store import EventStore
from infra.console import Exit, clear_errors, fail, out, show_json
from infra.native import here
from infra.plan import OPERATOR
from infra.postgres import conninfo
from projections.errors import ProjectionError, ReadUnavailable, RebuildRefused
from projections.parking import EventPlace
from projections.plan import read_database
from projections.refolding.beside import Standing
from projections.refolding.estimate import estimate
from projections.refolding.rebuild import rebuild as rebuild_view
from projections.refolding.rebuild import rollback as roll_back
from projections.refolding.replay import Replayed, Which
from projections.refolding.replay import replay as replay_rows
from projections.rows import AnyView
from projections.verify_commands import bar, projection, reason, views_named

T = TypeVar("T")
Name = Annotated[str, typer.Argument(metavar="VIEW", help="For example orders/order-details.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Plain JSON on stdout.")]
MIB = 1024 * 1024


@projection.command()
def rebuild(  # noqa: PLR0917  # they are options
    view: Name,
    dry_run: DryRun = False,
    memory: Annotated[int, typer.Option(min=1, help="MiB that the rows may take; more rows take more passes.")] = 512,
    skip: Annotated[
        list[int] | None, typer.Option(min=1, help="Position of an event to leave out for good; may be repeated.")
    ] = None,
    why: Annotated[str | None, typer.Option(help="Why it may be left out; kept for good.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fold a view from the store beside the live one, and swap when it has caught up."""
    domain, found = one_view(view)
    said_why = reason(why, "--skip 17 --why ...") if skip else ""

    async def work(standing: Standing, store: EventStore) -> Any:
        if dry_run:
            return await estimate(standing, found, store, memory * MIB)
        await take_out(standing, found, store, skip or (), said_why)
        with bar(found.name) as progress:
            return await rebuild_view(standing, found, store, memory=memory * MIB, progress=progress)

    show(carried_out(domain, work), as_json)


@projection.command()
def rollback(view: Name, as_json: AsJson = False) -> None:
    """Take back the last rebuild: the version before it catches up, and is live again."""
    domain, found = one_view(view)
    show(carried_out(domain, lambda standing, store: roll_back(standing, found, store)), as_json)


@projection.command()
def replay(  # noqa: PLR0917  # they are options
    view: Name,
    stream: Annotated[str | None, typer.Option(help="The rows that this stream touches.")] = None,
    keys: Annotated[str | None, typer.Option(metavar="FROM..TO", help="The rows from one key to another.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="The rows that events of this type touch.")] = None,
    since: Annotated[datetime | None, typer.Option(help="The rows that events since this time touch (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="The rows that events until this time touch (UTC).")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Fold chosen rows of a view again from the store; those that differ are written, nothing else moves."""
    domain, found = one_view(view)
    if (stream, keys, type_, since, until) == (None,) * 5:
        raise fail("which rows? --stream, --keys, --type, --since or --until; for all: projection rebuild", Exit.USAGE)
    which = Which(stream, key_range(keys), type_, since and in_utc(since), until and in_utc(until))
    check(domain, which)

    async def work(standing: Standing, store: EventStore) -> Replayed:
        with bar(found.name) as progress:
            return await replay_rows(standing, found, store, which, dry_run=dry_run, progress=progress)

    show(carried_out(domain, work), as_json)


async def take_out(standing: Standing, view: AnyView, store: EventStore, positions: Sequence[int], why: str) -> None:
    """What stops a view from being built could not be skipped there: nothing is parked yet."""
    known = await standing.skipped(view)
    for position in positions:
        found = await store.read_log(after=position - 1, limit=1)
        if not found or found[0].position != position:
            raise RebuildRefused(f"there is no event at position {position}")
        if EventPlace(position, found[0].stream) not in known:
            await standing.take_out(view, found[0], getpass.getuser(), why)


def check(domain: Domain, which: Which) -> None:
    """Raises `typer.Exit` for what no row can be chosen by: it would look as if all rows were right."""
    names = {name for type in known_types(domain) for name in (type, bare(type))}
    if which.type is not None and which.type not in names:
        known = ", ".join(sorted({*map(bare, names)}))
        raise fail(f"{which.type} is no event of {domain.name}: {known}", Exit.USAGE)
    if which.stream is not None and not which.stream.startswith(domain.stream("")):
        raise fail(f"{which.stream} is no stream of {domain.name}", Exit.USAGE, f"--stream {domain.stream('536365')}")
    if which.keys is not None and not which.takes_key(which.keys[1]):
        raise fail(f"no key is from {which.keys[0]} to {which.keys[1]}", Exit.USAGE, "--keys 536365..536400")
    if which.since and which.until and which.since > which.until:
        raise fail("no time is since and until then: the second comes first", Exit.USAGE)


def key_range(given: str | None) -> tuple[str, str] | None:
    if given is None:
        return None
    first, dots, last = given.partition("..")
    if not dots:
        raise fail(f"{given} is no range of keys", Exit.USAGE, "--keys 536365..536400")
    return first, last


def one_view(name: str) -> tuple[Domain, AnyView]:
    [found] = views_named(name)
    return found


def carried_out(domain: Domain, work: Callable[[Standing, EventStore], Awaitable[T]]) -> T:
    """Works as the owner of the read database and as a reader of the store; failures end the command."""

    async def run() -> T:
        async with opened(domain) as (standing, store):
            return await work(standing, store)

    with clear_errors():
        try:
            return asyncio.run(run())
        except (EventStoreError, ReadUnavailable) as error:
            raise fail(str(error), Exit.DEPENDENCY_DOWN, "headrace up") from None
        except RebuildRefused as error:
            raise fail(str(error), Exit.CONFLICT) from None
        except (ProjectionError, UnreadableEvent) as error:
            raise fail(str(error)) from None


@asynccontextmanager
async def opened(domain: Domain) -> AsyncIterator[tuple[Standing, EventStore]]:
    system = here()
    owner = conninfo(system.settings(f"{domain.name}-migrate"), read_database(domain))
    reader = conninfo(system.settings(OPERATOR), events_database(domain))
    async with PostgresStore.open(reader) as store, Standing.open(owner, domain) as standing:
        yield standing, store


def show(found: Any, as_json: bool) -> None:
    told = asdict(found)
    if as_json:
        return show_json(told)
    table = Table(show_header=False)
    for name, value in told.items():
        table.add_row(name.replace("_", " "), escape(said(value)))
    return out.print(table)


def said(value: Any) -> str:
    match value:
        case None:
            return "never: events come faster than they are caught up with"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case list():
            return "\n".join(value) or "none"
        case _:
            return str(value)
