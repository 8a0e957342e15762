"""headrace demo"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from domains.orders import domain
from domains.orders.demo import cdnow, retail
from domains.orders.demo.errors import DemoError, NoInput
from domains.orders.demo.invoices import Invoice
from domains.orders.demo.load import Gateway, TryAgain, send_all
from domains.orders.demo.verify import differences
from infra import tokens
from infra.console import Exit, clear_errors, err, fail, out, show_json
from infra.native import Native, here, usage
from infra.plan import OPERATOR

app = typer.Typer()


@dataclass(frozen=True, slots=True)
class Result:
    """What the demo did; `placed + returned + refused` is `invoices`."""

    invoices: int
    placed: int
    returned: int
    refused: int
    refused_by_reason: dict[str, int]
    events: int
    commands_per_second: float
    processor_us_per_command: dict[str, int]
    resident_mib: dict[str, int]
    projected_after_s: float
    views_equal: bool
    differences: list[str]
    gateway_url: str
    ca_file: str
    seconds: float

    @property
    def holds(self) -> bool:
        return self.views_equal and self.placed + self.returned + self.refused == self.invoices


@app.command()
def demo(
    input: Annotated[Path | None, typer.Option(help="Sales, CSV or CSV.gz; the CDNOW history when left out.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Send only the first so many invoices.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Commands under way at once.")] = 32,
    leave: Annotated[bool, typer.Option("--exit", help="Stop what was started, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Start everything, send real sales as commands, and check the views against the input."""
    with clear_errors():
        system = here()
        invoices = read(system, input)[:limit]
        before = set(filter(system.state.running, system.state.known()))
        started = time.monotonic()
        stays = err.is_terminal and not leave
        try:
            with err.status("starting Kafka, PostgreSQL and the services") if err.is_terminal else quiet():
                system.up()
            result = uvloop.run(run(system, invoices, concurrency, started))
            show(result, as_json)
            if stays:
                wait_for_the_person()
        except TryAgain as error:
            raise fail(f"the system did not answer in time: {error}", Exit.TRY_AGAIN, "headrace status") from None
        finally:
            system.down(only=set(system.state.known()) - before)
    if not result.holds:
        raise typer.Exit(Exit.UNVERIFIED)


def read(system: Native, input: Path | None) -> list[Invoice]:
    try:
        if input is None:
            return cdnow.read(cdnow.fetch(system.folder / "cache"))
        return retail.read(input)
    except NoInput as error:
        raise fail(str(error), Exit.NOT_FOUND) from None
    except DemoError as error:
        raise fail(str(error), Exit.USAGE) from None


async def run(system: Native, invoices: list[Invoice], concurrency: int, started: float) -> Result:
    told = system.status_json()
    address, ca_file = str(told["gateway_url"]), str(told["ca_file"])
    client = system.settings(OPERATOR)

    def token() -> str:
        return tokens.token(client, system.plan.scopes)

    with Gateway.open(address, ca_file, token) as gateway:
        sending, used = time.monotonic(), processor_seconds(system)
        with progress(len(invoices)) as step:
            outcome = await send_all(gateway, invoices, domain.partitions, concurrency, step)
        sent = time.monotonic()
        await gateway.caught_up([view.name for view in domain.views], [token for _, token in outcome.tokens.values()])
        projected, spent = time.monotonic(), usage.spent(used, processor_seconds(system))
        found = await differences(gateway, invoices, outcome)
    return Result(
        invoices=len(invoices),
        placed=outcome.sent("place"),
        returned=outcome.sent("return"),
        refused=outcome.refused.total(),
        refused_by_reason=dict(outcome.refused.most_common()),
        events=len(outcome.accepted),
        commands_per_second=round(len(invoices) / max(sent - sending, 1e-9), 1),
        processor_us_per_command={name: round(part * 1e6 / max(len(invoices), 1)) for name, part in spent.items()},
        resident_mib={name: size // 2**20 for name, size in usage.resident_bytes(system.state).items()},
        projected_after_s=round(projected - sent, 3),
        views_equal=not found,
        differences=found,
        gateway_url=address,
        ca_file=ca_file,
        seconds=round(time.monotonic() - started, 1),
    )


def processor_seconds(system: Native) -> dict[str, float]:
    """Of each component, and of this process, which is the client."""
    return {"client": sum(os.times()[:2]), **usage.processor_seconds(system.state)}


@contextmanager
def progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar with rate and time left, on a terminal only."""
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]:.0f}/s"))
    with Progress(*columns, TimeRemainingColumn(), console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task("sending", total=total, rate=0.0)
        begun, done = time.monotonic(), 0

        def step() -> None:
            nonlocal done
            done += 1
            if done % 50 == 0:
                bar.update(task, completed=done, rate=done / (time.monotonic() - begun))

        yield step
        bar.update(task, completed=done)


@contextmanager
def quiet() -> Iterator[None]:
    yield


def show(result: Result, as_json: bool) -> None:
    if as_json:
        show_json(asdict(result))
        return
    table = Table(show_header=False)
    for name, value in asdict(result).items():
        if not isinstance(value, dict | list):
            table.add_row(name.replace("_", " "), str(value))
    for reason, count in result.refused_by_reason.items():
        table.add_row(f"  refused, {reason}", str(count))
    out.print(table, costs(result))
    for sentence in result.differences:
        err.print(sentence, style="red", markup=False)
    view = f"{result.gateway_url}/v1/orders/sales-by-country?limit=5"
    out.print(f'curl --cacert {result.ca_file} -H "Authorization: Bearer $(headrace token)" "{view}"', markup=False)


def costs(result: Result) -> Table:
    """What each hop costs: this is what bounds the rate of commands on a machine's processors."""
    table = Table("hop", "processor µs per command", "memory MiB")
    for name, spent in sorted(result.processor_us_per_command.items(), key=lambda each: -each[1]):
        table.add_row(name, str(spent), str(result.resident_mib.get(name, "")))
    table.add_section()
    table.add_row("all", str(sum(result.processor_us_per_command.values())), str(sum(result.resident_mib.values())))
    return table


def wait_for_the_person() -> None:
    out.print("The system is up. Ctrl-C stops it; in another terminal: headrace watch, headrace status.")
    try:
        asyncio.run(asyncio.Event().wait())
    except KeyboardInterrupt:
        return
