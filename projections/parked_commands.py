"""headrace projection parked | retry | skip"""

import asyncio
import getpass
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, TypeVar

import typer

from domains.kernel import Domain
from infra.console import Exit, clear_errors, fail, out, show_json
from infra.native import here
from infra.plan import OPERATOR
from infra.postgres import conninfo
from projections.errors import NotParked, ReadUnavailable
from projections.listed import listed
from projections.parking import Parked, Skip, Spot
from projections.plan import read_database
from projections.postgres import PostgresDatabase
from projections.publish import KafkaPublisher
from projections.retry import Retried, Retry
from projections.rows import AnyView
from projections.verify_commands import projection, reason, storable, views_named

T = TypeVar("T")
View = Annotated[str, typer.Argument(help="For example orders/order-details.")]
Key = Annotated[str, typer.Argument(help="The key, or the stream, as `parked` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Plain JSON on stdout.")]


@projection.command()
def parked(
    view: Annotated[str | None, typer.Argument(help="For example orders/order-details; all when left out.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Also what was skipped: by whom and why.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the keys that were set aside because an event could not be folded, and how many events wait there."""
    found, skipped = list[dict[str, Any]](), list[dict[str, Any]]()
    for domain, each in views_named(view):
        name = f"{domain.name}/{each.name}"
        spots, skips = run(look(domain, each))
        found += [{"view": name, **told(one)} for one in spots]
        skipped += [{"view": name, **told_skip(one)} for one in skips]
    if as_json:
        show_json({"parked": found} | ({"skipped": skipped} if history else {}))
        return
    listed("nothing is parked", found, ("view", "key", "events", "position", "type", "attempts", "first_at", "error"))
    if history:
        listed("nothing was skipped", skipped, ("view", "key", "position", "type", "who", "why", "at", "error"))


@projection.command()
def retry(
    view: Annotated[str | None, typer.Argument(help="For example orders/order-details.")] = None,
    key: Annotated[str | None, typer.Argument(help="The key, or the stream, as `parked` shows it.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Whatever is parked, of this view or of all.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fold what is parked, in order and with today's code. Exit 1: some of it still fails."""
    if every == (key is not None) or (view is None and not every):
        raise fail("name a view and a key, or --all", Exit.USAGE)
    done = [
        {"view": f"{domain.name}/{each.name}", **one}
        for domain, each in views_named(view)
        for one in run(retried(domain, each, key))
    ]
    if key is not None and not done:
        raise fail(f"{key} of {view} is not parked", Exit.NOT_FOUND, "headrace projection parked")
    if as_json:
        show_json({"retried": done})
    else:
        listed("nothing is parked", done, ("view", "key", "folded", "left", "error"))
    if any(one["left"] for one in done):
        raise typer.Exit(Exit.FAILURE)


@projection.command()
def skip(  # noqa: PLR0917
    view: View,
    key: Key,
    why: Annotated[str, typer.Option(help="Why the event may be left out; kept for good.")],
    who: Annotated[str | None, typer.Option(help="Who says so; you, when left out.")] = None,
    position: Annotated[int | None, typer.Option(min=1, help="Skip this event only, not what fails by now.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take the event that fails out of a view for good, and fold the rest of its key. Exit 1: the rest fails too."""
    why, who = reason(why), storable("who", who or getpass.getuser())
    [(domain, each)] = views_named(view)
    event, left = run(skipped(domain, each, key, who, why, position))
    found = {"view": f"{domain.name}/{each.name}", "key": key, "position": event, **outcome(left)}
    if as_json:
        show_json(found)
    else:
        more = "1 more event was folded" if left.events == 1 else f"{left.events} more events were folded"
        out.print(f"skipped position {event} of {key}; {more}", markup=False)
    if left.left is not None:
        raise fail(f"{key} stays parked: {left.left.error}")


async def look(domain: Domain, view: AnyView) -> tuple[list[Parked], list[Skip]]:
    database = PostgresDatabase(conninfo(here().settings(OPERATOR), read_database(domain)), domain)
    try:
        async with database.transaction() as transaction:
            parking = transaction.parking(view)
            return await parking.spots(), await parking.skips()
    finally:
        await database.close()


async def retried(domain: Domain, view: AnyView, key: str | None) -> list[dict[str, Any]]:
    found = []
    async with retrying(domain) as (retry, database):
        for spot in await spots(database, view, key):
            try:
                found.append({"key": spot.name, **outcome(await retry.retry(view, spot))})
            except NotParked:
                continue  # it went with the stream that was retried before it, or somebody else was faster
    return found


async def skipped(  # noqa: PLR0917
    domain: Domain, view: AnyView, key: str, who: str, why: str, at: int | None
) -> tuple[int, Retried]:
    async with retrying(domain) as (retry, database):
        held = await spots(database, view, key)
        if not held:
            raise NotParked(f"{key} of {view.name} is not parked")
        event, left = await retry.skip(view, held[0], who, why, at)
        return event.position, left


@asynccontextmanager
async def retrying(domain: Domain) -> AsyncIterator[tuple[Retry, PostgresDatabase]]:
    """With the rights of the read side: what it may do is what has to be done."""
    settings = here().settings(f"{domain.name}-read")
    async with AsyncExitStack() as stack:
        database = PostgresDatabase(conninfo(settings, read_database(domain)), domain)
        stack.push_async_callback(database.close)
        publisher = await stack.enter_async_context(KafkaPublisher.open(settings, domain))
        yield Retry(domain, database, publisher), database


async def spots(database: PostgresDatabase, view: AnyView, key: str | None) -> list[Spot]:
    """The spots of that name, or all; streams first, since they are handed on to keys."""
    async with database.transaction() as transaction:
        found = [one.spot for one in await transaction.parking(view).spots() if key in (None, one.spot.name)]
    return sorted(found, key=lambda spot: not spot.of_stream)


def told(parked: Parked) -> dict[str, Any]:
    names = ("events", "position", "stream", "version", "type", "error", "first_at", "attempts")
    return {**named(parked.spot), **{name: getattr(parked, name) for name in names}}


def told_skip(skip: Skip) -> dict[str, Any]:
    event = {name: getattr(skip.event, name) for name in ("position", "stream", "version", "type")}
    return {**named(skip.spot), **event, **{name: getattr(skip, name) for name in ("error", "who", "why", "at")}}


def named(spot: Spot) -> dict[str, Any]:
    return {"key": spot.name, "of_stream": spot.of_stream}


def outcome(done: Retried) -> dict[str, Any]:
    left = done.left
    return {"folded": done.events, "left": left.events if left else 0, "error": left.error if left else None}


def run(action: Coroutine[Any, Any, T]) -> T:
    """Runs an action to its end; what goes wrong is said in a sentence."""
    with clear_errors():
        try:
            return asyncio.run(action)
        except ReadUnavailable as error:
            raise fail(str(error), Exit.DEPENDENCY_DOWN, "headrace up") from None
        except NotParked as error:
            raise fail(str(error), Exit.NOT_FOUND, "headrace projection parked") from None
