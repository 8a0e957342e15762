"""headrace store forget | rotate-keys"""

import asyncio
import getpass
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated
from uuid import UUID

import psycopg
import typer
from rich.table import Table

from eventstore import sql
from eventstore.console import AsJson, Name, Place, place, run, store, store_errors
from eventstore.evidence import place as evidence
from eventstore.evidence.witness import FileWitness
from eventstore.link import connect as connect_async
from eventstore.migrate import connect
from eventstore.personal import keyring, search
from eventstore.personal.forget import Forgotten, forget
from eventstore.personal.migrate import rotate
from eventstore.personal.postgres import PostgresKeys
from eventstore.personal.search import Looked, Sought
from eventstore.postgres import PostgresStore
from eventstore.ranges.moving import ranges
from infra.console import Exit, err, fail, out, show_json
from infra.native.postgres import SUPERUSER
from infra.notes import Signer
from infra.plan import Database
from infra.postgres import conninfo

PATIENCE_SECONDS = 10.0
FETCHED = "cache"
LONGEST_LINE = 500

Why = Annotated[
    str, typer.Option("--why", help="The reason, which is kept: one line, without anything to be forgotten.")
]
Also = Annotated[
    typer.FileText | None, typer.Option("--also", help="Further texts to look for, a line each; - is stdin.")
]


@store.command("forget")
def forget_command(
    subject: Annotated[str, typer.Argument(help="A store and a subject in it, for example orders/17850.")],
    why: Why,
    also: Also = None,
    as_json: AsJson = False,
) -> None:
    """Forget a person: destroy his keys, and look for what they sealed everywhere. The report is signed and kept.

    It can't be undone. Begun and broken off, it goes on when it is repeated. Exit 5: something was found, or a file
    could not be read.
    """
    name, _, person = subject.partition("/")
    if not person or not one_line(subject) or not one_line(why):
        raise fail("give a store and a subject, like orders/17850, and a reason of one line", Exit.USAGE)
    where, texts = place(name), [line.strip() for line in also or () if line.strip()]
    kept = keys_of(where)

    async def action() -> Forgotten:
        with err.status("forgetting") if err.is_terminal else err.capture():
            ring = keyring.file(where.system.settings(kept.owner).keys, where.name)
            async with (
                PostgresStore.open(where.conninfo()) as log,
                PostgresKeys.open(conninfo(where.system.settings(kept.owner), kept.name), ring) as keys,
            ):
                return await forget(
                    keys,
                    log,
                    person,
                    by=getpass.getuser(),
                    why=why,
                    search=lambda sought: look(where, sought),
                    also=texts,
                    after=await detached_to(where),
                )

    done = run(action)
    if not done.tombstones:
        raise fail(f"{where.name} has no key of {person}: nothing was sealed for him", Exit.NOT_FOUND)
    note = report(where, kept, done, renewed(where, kept))
    show(done, note, as_json)
    if done.finds or done.unread:
        raise fail(f"{done.finds} finds, {done.unread} files could not be read", Exit.UNVERIFIED)


@store.command("rotate-keys")
def rotate_keys(name: Name = None) -> None:
    """Wrap all data keys by a new key, and destroy the old one. Backups of the keys from before no longer open."""
    where = place(name)
    out.print(f"all data keys of {where.name} are wrapped by {renewed(where, keys_of(where))} alone")


async def detached_to(where: Place) -> int:
    """The last position that was taken out of the database."""
    async with await connect_async(where.conninfo()) as connection:
        return max((found.last for found in await ranges(connection) if found.file is not None), default=0)


def keys_of(where: Place) -> Database:
    """The database of a store's keys."""
    wanted = f"{where.database.removesuffix('_events')}_keys"
    for database in where.system.plan.databases:
        if database.name == wanted:
            return database
    raise fail(f"{where.name} says nothing about persons", Exit.NOT_FOUND)


def renewed(where: Place, kept: Database) -> UUID:
    """Takes the sense from every older copy of the keys, and as many of these copies as the server can.

    Copies in the write-ahead log go when it is recycled; what wrapped them is destroyed now.
    """
    owner = where.system.settings(kept.owner)
    with store_errors():
        with connect(conninfo(owner, kept.name), PATIENCE_SECONDS) as connection:
            connection.autocommit = True
            new = rotate(connection, keyring.file(owner.keys, where.name))
            connection.execute(sql.statement("keys_vacuum"))
        superuser = conninfo(where.system.settings(SUPERUSER), kept.name)
        with psycopg.connect(superuser, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
    return new


def look(where: Place, sought: Sought) -> Iterator[Looked]:
    """Everything that this system keeps on this machine, but the servers' programs."""
    system = where.system
    for part in sorted(system.folder.iterdir()):
        if part.name != FETCHED:
            yield search.files(f"files of {part.name}", part, sought)
    for database in system.plan.databases:
        yield from search.rows(conninfo(system.settings(SUPERUSER), database.name), sought)


def report(where: Place, kept: Database, done: Forgotten, wrapped_by: UUID) -> str:
    """The signed report, which is kept beside the checkpoints."""
    keeper = where.system.settings(kept.owner)
    signer = Signer.load(keeper.credentials, keeper.principal)
    note = signer.sign(done.text(evidence.origin(where.name), wrapped_by))
    asyncio.run(FileWitness(reports(keeper.evidence, where.name)).keep(note))
    return note


def reports(folder: Path | None, name: str) -> Path:
    return (folder or Path()) / f"{name}.forgotten"


def show(done: Forgotten, note: str, as_json: bool) -> None:
    if as_json:
        told = [asdict(tomb) for tomb in done.tombstones]
        return show_json({"subject": done.subject, "keys": told, "finds": done.finds, "note": note})
    table = Table("searched", "files or rows", "bytes", "finds", "sealed")
    for looked in (looked for one in done.searches for looked in one["places"]):
        table.add_row(looked["place"], *(f"{looked[name]:,}" for name in ("units", "bytes", "finds", "sealed")))
    out.print(table)
    return out.print(note, markup=False)


def one_line(text: str) -> bool:
    return 0 < len(text) <= LONGEST_LINE and text.isprintable()
