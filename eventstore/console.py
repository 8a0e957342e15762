"""The command `headrace store`, on which other modules register their subcommands, and what they share."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import psycopg
import typer

from eventstore.__main__ import parser
from eventstore.errors import EventStoreError, StoreBusy, StoreUnavailable
from eventstore.link import sentence
from eventstore.migrate import Roles
from infra.console import Exit, clear_errors, fail
from infra.native import Native, here
from infra.plan import OPERATOR, Plan
from infra.postgres import conninfo

store = typer.Typer(no_args_is_help=True, help="Look into an event store, move it, and check it.")
T = TypeVar("T")
Name = Annotated[str | None, typer.Option("--store", help="Whose store, for example orders; needed if there are more.")]
Files = Annotated[Path | None, typer.Option("--ranges", help="The folder of detached ranges, if they were moved.")]
AsJson = Annotated[bool, typer.Option("--json", help="Plain JSON on stdout.")]


@dataclass(frozen=True, slots=True)
class Place:
    """A store of this system: its domain, who owns it, and who may do what."""

    system: Native
    name: str
    database: str
    roles: Roles
    owner: str

    def conninfo(self, principal: str = OPERATOR) -> str:
        return conninfo(self.system.settings(principal), self.database)


def places(system: Native) -> dict[str, Place]:
    """The stores of a system: those that its plan migrates."""
    return {place.name: place for place in (_place(system, *job) for job in jobs(system.plan))}


def jobs(plan: Plan) -> Iterator[tuple[tuple[str, ...], str]]:
    for job in plan.jobs:
        if job.module == __package__:
            yield job.arguments[1:], job.principal


def _place(system: Native, arguments: tuple[str, ...], owner: str) -> Place:
    given = parser().parse_args(["migrate", *arguments])
    roles = Roles(given.writer, given.readers, given.follower)
    return Place(system, given.database.removesuffix("_events").replace("_", "-"), given.database, roles, owner)


def place(name: str | None) -> Place:
    """The store of that name, or the only one."""
    known = places(here())
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name not in known:
        what = "which store" if name is None else f"there is no store {name}"
        raise fail(f"{what}: {', '.join(known) or 'there is none'}", Exit.NOT_FOUND if name else Exit.USAGE, "--store")
    return known[name]


@contextmanager
def store_errors() -> Iterator[None]:
    """Turns the store's errors, and the database's, into one sentence and an exit code."""
    with clear_errors():
        try:
            yield
        except StoreBusy as error:
            raise fail(str(error), Exit.TRY_AGAIN) from None
        except StoreUnavailable as error:
            raise fail(str(error), Exit.DEPENDENCY_DOWN, "headrace up") from None
        except EventStoreError as error:
            raise fail(str(error)) from None
        except psycopg.OperationalError as error:
            raise fail(sentence(error), Exit.DEPENDENCY_DOWN, "headrace up") from None


def run(action: Callable[[], Awaitable[T]]) -> T:
    """Runs an action to its end; its errors are told as a sentence."""

    async def whole() -> T:
        return await action()

    with store_errors():
        return asyncio.run(whole())
