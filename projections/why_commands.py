"""headrace why"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from msgspec import structs
from rich.markup import escape
from rich.table import Table

from domains.errors import UnreadableEvent
from domains.kernel import Domain
from domains.plan import events_database
from eventstore.errors import EventsDetached, EventStoreError
from eventstore.postgres import PostgresStore
from infra.console import Exit, clear_errors, fail, out, show_json
from infra.native import here
from infra.plan import OPERATOR
from infra.postgres import conninfo
from projections.errors import ReadUnavailable, RebuildFailed, RebuildRefused
from projections.plan import read_database
from projections.refolding.drift import Frozen
from projections.refolding.why import Cause
from projections.refolding.why import why as causes_of
from projections.rows import AnyView
from projections.verify_commands import views_named

SHOWN_OF_VALUE = 40


def why(
    row: Annotated[str, typer.Argument(help="A view and a key of it, for example orders/order-details/536365.")],
    column: Annotated[str | None, typer.Argument(help="Only this column.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Plain JSON on stdout.")] = False,
) -> None:
    """Why a row is as it is: the event that set each column last, what asked for it, and who."""
    domain, view, key = named(row)
    if column is not None and column not in view.row.model_fields:
        raise fail(f"{view.name} has no column {column}: {', '.join(view.row.model_fields)}", Exit.NOT_FOUND)
    with clear_errors():
        try:
            causes = asyncio.run(found(domain, view, key))
        except (EventsDetached, UnreadableEvent, RebuildFailed, RebuildRefused) as error:
            raise fail(str(error)) from None
        except (EventStoreError, ReadUnavailable) as error:
            raise fail(str(error), Exit.DEPENDENCY_DOWN, "headrace up") from None
    if not causes:
        raise fail(f"{view.name} has no row for the key {key}", Exit.NOT_FOUND)
    causes = [cause for cause in causes if column in (None, cause.column)]
    if as_json:
        show_json({"view": f"{domain.name}/{view.name}", "key": key, "columns": [as_json_has(one) for one in causes]})
    else:
        show(causes)


def named(row: str) -> tuple[Domain, AnyView, str]:
    """A key may hold slashes."""
    parts = row.split("/", 2)
    if len(parts) < 3 or not parts[2]:
        raise fail(f"{row} is no row", Exit.USAGE, "headrace why orders/order-details/536365")
    [(domain, view)] = views_named(f"{parts[0]}/{parts[1]}")
    return domain, view, parts[2]


async def found(domain: Domain, view: AnyView, key: str) -> Sequence[Cause]:
    async with PostgresStore.open(conninfo(here().settings(OPERATOR), events_database(domain))) as store:
        async with Frozen.open(conninfo(here().settings(OPERATOR), read_database(domain))) as frozen:
            skipped, _ = await frozen.aside(view)
        return await causes_of(domain, view, store, key, skipped)


def as_json_has(cause: Cause) -> dict[str, object]:
    moments = {"time": cause.time.isoformat(), "recorded_at": cause.recorded_at.isoformat()}
    return {**asdict(cause), **moments, "metadata": structs.asdict(cause.metadata)}


def show(causes: Sequence[Cause]) -> None:
    """The columns with the events that set them; then each of these events once, with what caused it."""
    columns = Table("column", "was", "became", "set by", "at position")
    for cause in causes:
        set_by = f"{escape(cause.stream)} {cause.version}"
        columns.add_row(cause.column, shown(cause.before), shown(cause.after), set_by, str(cause.position))
    out.print(columns)
    for cause in {cause.position: cause for cause in sorted(causes, key=lambda cause: cause.position)}.values():
        told = cause.metadata
        out.print(f"[bold]{cause.position}[/]  [cyan]{cause.type}[/]  {escape(cause.stream)} {cause.version}")
        lines = {
            "happened": f"{cause.time:%Y-%m-%d %H:%M:%S}Z, recorded {cause.recorded_at:%Y-%m-%d %H:%M:%S}Z",
            "command": cause.command,
            "actor": told.actor,
            "request": told.request_id,
            "correlation": told.correlation_id,
            "caused by": told.causation_id,
            "trace": told.traceparent,
        }
        for name, value in lines.items():
            if value is not None:
                out.print(f"    {name:<12}{escape(value)}")


def shown(value: object) -> str:
    text = "" if value is None else str(value)
    return escape(text if len(text) <= SHOWN_OF_VALUE else text[: SHOWN_OF_VALUE - 1] + "…")
