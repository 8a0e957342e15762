"""headrace replay"""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from domains.aggregates import PAGE
from domains.codec import decode
from domains.discovery import discover
from domains.errors import DomainError
from domains.handler import fold
from domains.kernel import Domain
from domains.opening import keys_of, plain
from domains.plan import events_database
from eventstore.errors import EventStoreError, KeyMissing, SealBroken
from eventstore.personal.keys import Keys
from eventstore.postgres import PostgresStore
from eventstore.records import RecordedEvent
from eventstore.store import EventStore
from infra.console import Exit, clear_errors, fail, out, show_json
from infra.native import here
from infra.plan import OPERATOR
from infra.postgres import conninfo

app = typer.Typer()


@app.command()
def replay(
    stream: Annotated[str, typer.Argument(help="For example orders-536365.")],
    state: Annotated[bool, typer.Option("--state", help="Print the folded state instead of the events.")] = False,
    to_version: Annotated[int | None, typer.Option(min=1, help="Stop after this version.")] = None,
    to_time: Annotated[datetime | None, typer.Option(help="Stop before the first event later than this (UTC).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Plain JSON on stdout, one line per event.")] = False,
) -> None:
    """Replay a stream from the event store: its events as they fold, or the state they make."""
    domain = domain_of(stream)

    def later(event: RecordedEvent) -> bool:
        moment = to_time.replace(tzinfo=to_time.tzinfo or UTC) if to_time else None
        return bool((to_version and event.version > to_version) or (moment and event.time > moment))

    async def run() -> int:
        person = here().settings(OPERATOR)
        place = conninfo(person, events_database(domain))
        async with PostgresStore.open(place) as store, keys_of(domain, person) as keys:
            if state:
                return await show_state(domain, store, keys, stream, later=later, as_json=as_json)
            return await show_events(domain, store, keys, stream, later=later, as_json=as_json)

    with clear_errors():
        try:
            shown = asyncio.run(run())
        except (KeyMissing, SealBroken) as error:
            raise fail(str(error)) from None
        except EventStoreError as error:
            raise fail(str(error), Exit.DEPENDENCY_DOWN, "headrace up") from None
        except DomainError as error:
            raise fail(str(error)) from None
        if not shown:
            raise fail(f"there is no event in stream {stream} up to there", Exit.NOT_FOUND)


def domain_of(stream: str) -> Domain:
    """The domain whose stream this is; a domain's name may contain a hyphen, so the longest name wins."""
    known = discover()
    names = [name for name in known if stream.startswith(f"{name}-")]
    if not names:
        raise fail(f"{stream} is no stream of {', '.join(known)}", Exit.NOT_FOUND, "headrace replay orders-536365")
    return known[max(names, key=len)]


async def show_state(
    domain: Domain, store: EventStore, keys: Keys | None, stream: str, *, later: Any, as_json: bool
) -> int:
    folded = await fold(domain, store, stream, later)
    if folded.version:
        [fields] = await plain([folded.state], keys)
        show_json(fields) if as_json else out.print_json(data=fields)
    return folded.version


async def show_events(
    domain: Domain, store: EventStore, keys: Keys | None, stream: str, *, later: Any, as_json: bool
) -> int:
    version = 0
    while page := await store.read_stream(stream, after=version, limit=PAGE):
        for event in page:
            if later(event):
                return version
            [data] = await plain([decode(domain, event)], keys)
            show_event(event, data, as_json)
            version = event.version
    return version


def show_event(event: RecordedEvent, data: dict[str, Any], as_json: bool) -> None:
    if as_json:
        told = {
            "version": event.version,
            "position": event.position,
            "type": event.type,
            "time": event.time.isoformat(),
        }
        show_json({**told, "id": str(event.id), "actor": event.metadata.actor, "data": data})
    else:
        out.print(f"[bold]{event.version:>4}[/]  [dim]{event.time:%Y-%m-%d %H:%M:%S}[/]  [cyan]{event.type}[/]")
        out.print_json(data=data)
