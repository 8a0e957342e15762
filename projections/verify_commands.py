"""headrace projection verify"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from domains.discovery import discover
from domains.errors import UnreadableEvent
from domains.kernel import Domain
from domains.plan import events_database
from eventstore.errors import EventStoreError
from eventstore.postgres import PostgresStore
from infra.console import Exit, clear_errors, err, fail, out, show_json
from infra.native import here
from infra.plan import OPERATOR
from infra.postgres import conninfo
from projections.errors import ReadUnavailable
from projections.listed import listed
from projections.plan import read_database
from projections.postgres import PostgresDatabase
from projections.refolding.drift import Frozen, Verified, note
from projections.refolding.drift import verify as verify_view
from projections.rows import AnyView

projection = typer.Typer(no_args_is_help=True, help="Look after projections.")
SHOWN = 40


@projection.command()
def verify(
    view: Annotated[str | None, typer.Argument(help="For example orders/order-details; all when left out.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Only about so many keys of each view.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every key, as without --sample.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Plain JSON on stdout.")] = False,
) -> None:
    """Fold views from the store anew and compare with their live rows. Exit 5: some differ."""
    if every and sample is not None:
        raise fail("either --sample or --all", Exit.USAGE)
    views = views_named(view)
    with clear_errors():
        try:
            found = [asyncio.run(one(domain, each, sample)) for domain, each in views]
        except (EventStoreError, ReadUnavailable) as error:
            raise fail(str(error), Exit.DEPENDENCY_DOWN, "headrace up") from None
        except UnreadableEvent as error:
            raise fail(str(error)) from None
    show_json({"views": [asdict(each) for each in found]}) if as_json else show(found)
    if any(each.drift for each in found):
        raise typer.Exit(Exit.UNVERIFIED)


async def one(domain: Domain, view: AnyView, sample: int | None) -> Verified:
    person = here().settings(OPERATOR)
    async with (
        PostgresStore.open(conninfo(person, events_database(domain))) as store,
        Frozen.open(conninfo(person, read_database(domain))) as frozen,
    ):
        with bar(view.name) as progress:
            found = await verify_view(domain, view, store, frozen, most=sample, progress=progress)
    await keep(domain, view, found, whole=sample is None)
    return found


async def keep(domain: Domain, view: AnyView, found: Verified, *, whole: bool) -> None:
    """Notes what was found, with the rights of the read side, so that whoever watches sees it."""
    wrong = defaultdict[str, list[str]](list)
    for one in found.drift:
        wrong[one.key].append(one.column)
    database = PostgresDatabase(conninfo(here().settings(f"{domain.name}-read"), read_database(domain)), domain)
    try:
        async with database.transaction() as transaction:
            await note(transaction.execute, view, found.at, wrong, None if whole else ())
    finally:
        await database.close()


def views_named(name: str | None) -> list[tuple[Domain, AnyView]]:
    """A view by its name, with or without its domain's; all when there is no name."""
    known = {(domain.name, view.name): (domain, view) for domain in discover().values() for view in domain.views}
    found = [pair for (domain, view), pair in known.items() if name in (None, view, f"{domain}/{view}")]
    if not found or (name is not None and len(found) > 1):
        names = ", ".join(f"{domain}/{view}" for domain, view in known)
        raise fail(f"{name} is {'no view' if not found else 'more than one view'}: {names}", Exit.NOT_FOUND)
    return found


def reason(why: str | None, hint: str | None = None) -> str:
    """Why an event may be left out for good. Raises `typer.Exit` for no reason."""
    if not (why or "").strip():
        raise fail("say why", Exit.USAGE, hint)
    return storable("why", why or "")


def storable(name: str, given: str) -> str:
    """What is kept as text. Raises `typer.Exit` for bytes of a command line that are none."""
    if given != given.encode(errors="replace").decode():
        raise fail(f"--{name} is no UTF-8", Exit.USAGE)
    return given.strip()


class Rate(ProgressColumn):
    """How much is done in a second; rich's own columns say it only while nobody knows how much there is."""

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{rate:,.0f}/s", style="progress.data.speed")


@contextmanager
def bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """How far the fold is, how fast, and for how long it will go on, on a terminal."""
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TaskProgressColumn(), Rate())
    with Progress(*columns, TimeRemainingColumn(), console=err, transient=True, disable=not err.is_terminal) as shown:
        task = shown.add_task(name, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def show(found: list[Verified]) -> None:
    told = Table(Column("view", no_wrap=True), "rows", "events", "up to position", "columns that differ")
    for each in found:
        drifted = f"[red]{len(each.drift)}[/]" if each.drift else "[green]0[/]"
        told.add_row(each.view, f"{each.rows:,}", f"{each.events:,}", str(each.position), drifted)
    out.print(told)
    drift = [(each.view, one) for each in found for one in each.drift]
    if not drift:
        return
    told_of = [{"view": view, **asdict(one), "live": str(one.live), "folded": str(one.folded)} for view, one in drift]
    listed("", told_of[:SHOWN], ("view", "key", "column", "live", "folded", "since", "how"))
    if len(drift) > SHOWN:
        more = "1 more column differs" if (left := len(drift) - SHOWN) == 1 else f"{left:,} more columns differ"
        out.print(f"\n{more}: --json tells all")
