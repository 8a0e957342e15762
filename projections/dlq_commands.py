"""headrace dlq list | show | replay"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from domains.discovery import discover
from domains.kernel import Domain
from domains.plan import events_database
from eventstore.errors import EventStoreError
from eventstore.postgres import PostgresStore
from infra.console import Exit, clear_errors, fail, show_json
from infra.native import here
from infra.plan import KAFKA_UI, OPERATOR
from infra.postgres import conninfo
from projections.errors import ReadUnavailable
from projections.letters import Judged, Letter, judged, letters
from projections.listed import listed

dlq = typer.Typer(no_args_is_help=True, help="Look at what was set aside as none of our events.")
Name = Annotated[str, typer.Argument(help="For example orders.")]
AsJson = Annotated[bool, typer.Option("--json", help="Plain JSON on stdout.")]


@dlq.command("list")
def list_letters(name: Name, as_json: AsJson = False) -> None:
    """List the letters: number, where each came from, why it was set aside, and since when."""
    domain = known(name)
    with dependencies():
        found = [summary(letter) for letter in letters(here().settings(KAFKA_UI), domain)]
    show_json({"letters": found}) if as_json else listed("nothing was set aside", found)


@dlq.command()
def show(
    name: Name,
    number: Annotated[int, typer.Argument(min=0, help="As `list` shows it.")],
    raw: Annotated[bool, typer.Option("--raw", help="The value on stdout byte for byte, and nothing else.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one letter whole: where it came from, why it is here, its key, headers and value."""
    domain = known(name)
    with dependencies():
        found = next(letters(here().settings(KAFKA_UI), domain, number), None)
    if found is None or found.number != number:
        raise fail(f"{domain.dead_letter_topic} has no letter {number}", Exit.NOT_FOUND, f"headrace dlq list {name}")
    if raw:
        sys.stdout.buffer.write(found.record.value or b"")
    elif as_json:
        show_json(whole(found))
    else:
        listed("", [whole(found)])


@dlq.command()
def replay(name: Name, as_json: AsJson = False) -> None:
    """Judge every letter anew with today's code; changes nothing. Exit 5: some are events of the store."""
    domain = known(name)
    with dependencies():
        found = asyncio.run(judge_all(domain))
    told = [{**summary(one.letter), "verdict": one.verdict, "why": one.why} for one in found]
    show_json({"letters": told}) if as_json else listed("nothing was set aside", told)
    if any(one.verdict == "ours" for one in found):
        raise typer.Exit(Exit.UNVERIFIED)


async def judge_all(domain: Domain) -> list[Judged]:
    system = here()
    place = conninfo(system.settings(OPERATOR), events_database(domain))
    async with PostgresStore.open(place) as store:
        return [await judged(domain, store, letter) for letter in letters(system.settings(KAFKA_UI), domain)]


def summary(letter: Letter) -> dict[str, Any]:
    record = letter.record
    return {
        "number": letter.number,
        "origin": f"{record.topic}/{record.partition}@{record.offset}",
        "key": text(record.key),
        "bytes": len(record.value or b""),
        "reason": letter.reason,
        "failed_at": letter.failed_at,
    }


def whole(letter: Letter) -> dict[str, Any]:
    headers = [[name, text(value)] for name, value in letter.record.headers]
    return {**summary(letter), "headers": headers, "value": text(letter.record.value)}


def text(value: bytes | None) -> str | None:
    """Bytes as people can read them; what is no UTF-8 is escaped."""
    return None if value is None else value.decode(errors="backslashreplace")


def known(name: str) -> Domain:
    domains = discover()
    if name not in domains:
        raise fail(f"there is no domain {name}: {', '.join(domains)}", Exit.NOT_FOUND)
    return domains[name]


@contextmanager
def dependencies() -> Iterator[None]:
    with clear_errors():
        try:
            yield
        except (EventStoreError, ReadUnavailable) as error:
            raise fail(str(error), Exit.DEPENDENCY_DOWN, "headrace up") from None
