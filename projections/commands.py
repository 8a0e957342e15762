"""headrace watch | projection | dlq"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from domains.discovery import discover
from eventstore.errors import EventStoreError
from infra.console import Exit, clear_errors, fail, out, printable, show_json
from infra.native import Native, here
from infra.native.processes import ready_reason
from infra.plan import OPERATOR
from projections import (
    parked_commands,  # noqa: F401  # it registers its commands
    rebuild_commands,  # noqa: F401  # it registers its commands
)
from projections.dlq_commands import dlq
from projections.errors import ReadUnavailable
from projections.readiness import Readiness
from projections.verify_commands import projection
from projections.watch import Watched, Watcher, watching
from projections.why_commands import why

app = typer.Typer()
app.add_typer(projection, name="projection")
app.add_typer(dlq, name="dlq")
app.command()(why)


@app.command()
def watch(
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Time between two looks.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Plain JSON on stdout, one line a look.")] = False,
) -> None:
    """Watch the projections: how far they are, how far behind, how fast, what is parked or wrong, what changed."""
    with clear_errors():
        try:
            asyncio.run(follow(here(), once or not (as_json or out.is_terminal), seconds, as_json))
        except (EventStoreError, ReadUnavailable) as error:
            raise fail(str(error), Exit.DEPENDENCY_DOWN, "headrace up") from None


async def follow(system: Native, once: bool, seconds: float, as_json: bool) -> None:
    async with AsyncExitStack() as stack:
        watched = await opened(system, stack)
        live = None if as_json or once else stack.enter_context(Live(console=out, auto_refresh=False))
        while True:
            found = [line for domain in watched for line in await domain.look()]
            if as_json:
                show_json({"projections": [asdict(line) for line in found]})
            elif live is not None:
                live.update(table(found), refresh=True)
            else:
                out.print(table(found))
            if once:
                return
            await asyncio.sleep(seconds)


@dataclass(slots=True)
class Followed:
    """The projections of one domain, and what was seen of them last."""

    watcher: Watcher
    readiness: Readiness
    last: list[Watched] = field(default_factory=list)

    async def look(self) -> list[Watched]:
        """In an outage what was seen before it. Raises `StoreUnavailable` or `ReadUnavailable` when that is nothing."""
        try:
            self.last = await self.watcher.look()
            problem = await self.readiness.look()
        except (EventStoreError, ReadUnavailable) as error:
            if not self.last:
                raise
            problem = self.readiness.seen(str(error))
        if problem is None:
            return self.last
        return [replace(line, problem=problem.why, problem_seconds=problem.seconds) for line in self.last]


async def opened(system: Native, stack: AsyncExitStack) -> list[Followed]:
    """Each domain, with the operator's rights: to read, and nothing else."""
    person = system.settings(OPERATOR)
    return [
        Followed(
            (await stack.enter_async_context(watching(person, domain)))[0],
            Readiness(partial(unready, system, f"{domain.name}-read")),
        )
        for domain in discover().values()
    ]


def unready(system: Native, process: str) -> str | None:
    """What `headrace status` says of a process, or None."""
    if system.state.running(process) is None:
        return f"{process} does not run: headrace up"
    return ready_reason(system.ca_file, system.state.port(f"{process}.health"))


def lasts(seconds: float | None) -> str:
    """How long something takes, for people."""
    if not seconds:
        return "" if seconds == 0 else "never"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def trouble(line: Watched) -> str | None:
    """Why a projection does not go on, and since when that is seen; or why the key that was parked last is."""
    if line.problem is None:
        return line.error
    return f"{line.problem} (for {lasts(line.problem_seconds)})" if line.problem_seconds else line.problem


def table(found: Sequence[Watched]) -> Group:
    """How each view stands, and below what is wrong with it, or the row that changed last.

    The figures of a view fit into the 80 columns of a usual terminal.
    """
    views = [f"{line.domain}/{line.view}" for line in found]
    width = max(map(len, views), default=0)
    numbers = Table(box=None, pad_edge=False, padding=(0, 0, 0, 2))
    numbers.add_column("projection", no_wrap=True, min_width=width)
    for name in ("position", "behind", "seconds", "rate", "ETA", "parked", "drift"):
        numbers.add_column(name, justify="right", no_wrap=True)
    rows = Table.grid(padding=(0, 2))
    rows.add_column(no_wrap=True, min_width=width)
    rows.add_column(no_wrap=True, overflow="ellipsis")
    for view, line in zip(views, found, strict=True):
        numbers.add_row(
            view,
            str(line.position),
            f"[yellow]{line.events_behind}[/]" if line.events_behind else "[green]0[/]",
            f"{line.seconds_behind:.1f}",
            f"{line.rate:.0f}",
            lasts(line.eta),
            f"[red]{line.parked}[/]" if line.parked else "[green]0[/]",
            f"[red]{line.drift}[/]" if line.drift else "[green]0[/]",
        )
        row = json.dumps(line.last_row, ensure_ascii=False) if line.last_row else ""
        said, style = (told, "red") if (told := trouble(line)) else (row, "dim")
        rows.add_row(view, f"[{style}]{escape(printable(said))}[/]")
    return Group(numbers, "", rows)
