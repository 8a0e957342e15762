"""headrace history record | check"""

import asyncio
import json
import secrets
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from domains.aggregates import PAGE
from domains.discovery import discover
from domains.errors import DomainError
from domains.history import Difference, Json, Mask, check, chosen, record
from domains.kernel import Domain
from domains.plan import events_database
from domains.promises import Change, changes, promises
from eventstore.console import store_errors
from eventstore.postgres import PostgresStore
from eventstore.records import RecordedEvent
from infra.console import Exit, fail, out, show_json
from infra.native import here
from infra.plan import OPERATOR
from infra.postgres import conninfo

app = typer.Typer()
history = typer.Typer(no_args_is_help=True, help="Hold this code against recorded streams.")
app.add_typer(history, name="history")

FOLDER = Path("tests/history")
SHOWN = 40
Folder = Annotated[Path, typer.Option("--folder", help="Where the histories are.")]


@history.command("record")
def record_history(
    domain: Annotated[str, typer.Argument(help="For example orders.")],
    folder: Folder = FOLDER,
    each: Annotated[int, typer.Option(min=1, help="So many streams of each sequence of event types.")] = 3,
    mask: Annotated[str, typer.Option(help="Fields whose text becomes pseudonyms, for example customer.")] = "",
) -> None:
    """Take streams of the store into files, with what today's code makes of them."""
    declared = domain_named(domain)
    masked = Mask(mask.split(","), secrets.token_bytes(16)) if mask else None
    with store_errors():
        try:
            streams = list(chosen(asyncio.run(every_stream(declared)), each))
            kept = [record(declared, stream, masked) for stream in streams]
        except DomainError as error:
            raise fail(str(error)) from None
    if not kept:
        raise fail(f"the store of {domain} is empty", Exit.NOT_FOUND)
    write(folder, declared, kept)
    out.print(f"{len(kept)} streams, {sum(len(one['events']) for one in kept)} events: {streams_file(folder, domain)}")


@history.command("check")
def check_history(
    folder: Folder = FOLDER, as_json: Annotated[bool, typer.Option("--json", help="Plain JSON on stdout.")] = False
) -> None:
    """Fold the recorded streams with today's code. Exit 5: it makes something else of them."""
    known = [domain for name, domain in discover().items() if streams_file(folder, name).exists()]
    if not known:
        raise fail(f"there is no history in {folder}", Exit.NOT_FOUND, "headrace history record orders")
    differences, promised, streams = [], list[Change](), 0
    for domain in known:
        try:
            kept, before = read(folder, domain)
        except (OSError, ValueError) as error:
            raise fail(f"the history of {domain.name} can't be read: {error}") from None
        streams += len(kept)
        differences += [difference for one in kept for difference in check(domain, one)]
        promised += changes(before, domain)
    show(differences, promised, streams, as_json)
    if differences or any(change.breaking for change in promised):
        raise typer.Exit(Exit.UNVERIFIED)


def show(differences: list[Difference], promised: list[Change], streams: int, as_json: bool) -> None:
    if as_json:
        told = {"differences": [*map(asdict, differences)], "promises": [*map(asdict, promised)]}
        return show_json({"streams": streams, **told})
    if differences:
        table = Table("stream", "where", "was", "is")
        for each in differences[:SHOWN]:
            table.add_row(*(escape(short(part)) for part in (each.stream, each.place, each.was, each.now)))
        out.print(table)
    if promised:
        table = Table("event type", "what", "")
        for change in promised:
            table.add_row(escape(change.path), escape(change.what), "[red]breaking[/]" if change.breaking else "safe")
        out.print(table)
    breaking = sum(change.breaking for change in promised)
    return out.print(f"{streams} streams: {len(differences)} differences, {breaking} broken promises")


def short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def domain_named(name: str) -> Domain:
    known = discover()
    if name not in known:
        raise fail(f"there is no domain {name}: {', '.join(known)}", Exit.NOT_FOUND)
    return known[name]


async def every_stream(domain: Domain) -> list[list[RecordedEvent]]:
    streams = defaultdict[str, list[RecordedEvent]](list)
    async with PostgresStore.open(conninfo(here().settings(OPERATOR), events_database(domain))) as store:
        after = 0
        while page := await store.read_log(after=after, limit=PAGE):
            for event in page:
                streams[event.stream].append(event)
            after = page[-1].position
    return list(streams.values())


def streams_file(folder: Path, domain: str) -> Path:
    return folder / f"{domain}.streams.jsonl"


def promises_file(folder: Path, domain: str) -> Path:
    return folder / f"{domain}.promises.json"


def write(folder: Path, domain: Domain, kept: list[Json]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in kept)
    streams_file(folder, domain.name).write_text(lines, encoding="utf-8")
    promised = json.dumps(promises(domain), indent=1, sort_keys=True, ensure_ascii=False)
    promises_file(folder, domain.name).write_text(f"{promised}\n", encoding="utf-8")


def read(folder: Path, domain: Domain) -> tuple[list[Json], dict[str, Any]]:
    """The kept streams of a domain, and what its event types promised then. Raises `OSError` and `ValueError`."""
    lines = streams_file(folder, domain.name).read_text(encoding="utf-8").splitlines()
    before: dict[str, Any] = json.loads(promises_file(folder, domain.name).read_text(encoding="utf-8"))
    return [json.loads(line) for line in lines], before
