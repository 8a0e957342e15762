"""Folds chosen rows of a view again, and nothing else: no position, no group offset and no other row moves."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from psycopg.errors import LockNotAvailable
from psycopg.sql import SQL
from pydantic import ValidationError

from domains.kernel import Row
from domains.replaying import bare
from eventstore.records import BareEvent
from eventstore.store import EventStore
from projections.errors import RebuildRefused
from projections.postgres import PostgresTransaction
from projections.refolding.beside import LOCK_MILLISECONDS, Standing
from projections.refolding.effects import guarded
from projections.refolding.refold import Log, Progress, Refold, facts, nobody, without
from projections.rows import AnyView
from projections.tables import Table


@dataclass(frozen=True, slots=True)
class Which:
    """The rows that these events touch: all for which every condition that is given holds; or a range of keys.

    `keys` are the first and the last, a `type` is one as it was recorded, or its bare name; `since` and `until` (aware)
    are times of events.
    """

    stream: str | None = None
    keys: tuple[str, str] | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, event: BareEvent) -> bool:
        return (
            (self.stream is None or event.stream == self.stream)
            and (self.type is None or self.type in (event.type, bare(event.type)))
            and (self.since is None or event.time >= self.since)
            and (self.until is None or event.time <= self.until)
        )

    def takes_key(self, key: str) -> bool:
        """Keys are compared byte by byte, as everywhere."""
        return self.keys is None or self.keys[0].encode() <= key.encode() <= self.keys[1].encode()


@dataclass(frozen=True, slots=True)
class Replayed:
    """So many rows were chosen, and the keys of those that were not right: written, if it was no dry run."""

    view: str
    chosen: int
    changed: list[str] = field(default_factory=list)
    written: bool = True


async def replay(
    standing: Standing,
    view: AnyView,
    store: EventStore,
    which: Which,
    *,
    dry_run: bool = False,
    progress: Progress = nobody,
) -> Replayed:
    """Raises `RebuildRefused`, `RebuildFailed`, `UnreadableEvent`, `StoreUnavailable` and `psycopg.Error`."""
    async with standing.claimed(view):
        if not await standing.counts_for(view):
            raise RebuildRefused(f"version {view.version} of {view.name} is not live: headrace projection rebuild")
        bounds, skipped = await standing.positions(), await standing.skipped(view)
        refold = Refold(standing.domain, view, store, bounds, skipped)
        keys = await chosen(refold, standing, view, which)
        rows = await refold.rows(keys.__contains__, progress)
        rest = Log(standing.domain, store, refold.after)
        async with held(standing, view) as transaction:
            if streams := await standing.parked_streams(view):
                # Their events would be folded now, and by a retry once more.
                raise RebuildRefused(f"streams of {view.name} are parked, retry these first: {', '.join(streams[:5])}")
            late = Refold(standing.domain, view, store, await standing.positions(), skipped)
            async for page in rest.pages(await standing.positions()):
                new = [event for event in page if event.position > bounds[rest.partition(event)]]
                late.fold(without(new, skipped), rows, keys.__contains__)
            wrong = await differing(standing, view, keys, rows)
            if wrong and not dry_run:
                await transaction.save(view, {key: rows.get(key) for key in wrong})
                await transaction.touch()
                await standing.run("note_keys", {"name": Table(view).name, "keys": wrong})
    return Replayed(f"{standing.domain.name}/{view.name}", len(keys), wrong, not dry_run)


async def chosen(refold: Refold, standing: Standing, view: AnyView, which: Which) -> set[str]:
    """The keys of the rows; those of parked ones are left to `retry`."""
    keys, pure = set[str](), guarded(view, standing.domain)
    async for page in refold.pages():
        taken = [event for event in page if which.takes(event)]
        keys.update(key for _, key, _ in facts(standing.domain, pure, taken, which.takes_key))
    return keys - await standing.parked(view)


@asynccontextmanager
async def held(standing: Standing, view: AnyView) -> AsyncIterator[PostgresTransaction]:
    """A transaction in which the worker waits, and readers do not."""
    table = Table(view)
    try:
        async with standing.connection.transaction():
            await standing.connection.execute(f"SET LOCAL lock_timeout = {10 * LOCK_MILLISECONDS}")
            await standing.connection.execute("LOCK TABLE parked IN EXCLUSIVE MODE")
            await standing.connection.execute(SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(table.identifier))
            yield PostgresTransaction(standing.connection, {view.name: table})
    except LockNotAvailable:
        raise RebuildRefused(f"somebody keeps {table.name} for himself; try again later") from None


async def differing(standing: Standing, view: AnyView, keys: Collection[str], rows: dict[str, Row]) -> list[str]:
    """The keys whose live rows are not these; a row that can't even be read is none of them."""
    table, live = Table(view), dict[str, Row]()
    names = {"columns": table.listed, "table": table.identifier, "key": table.key}
    for row in await (await standing.run("chosen", {"keys": list(keys)}, **names)).fetchall():
        try:
            live[row[view.key]] = view.row.model_validate(row)
        except ValidationError:
            live[row[view.key]] = view.row.model_construct()
    return sorted(key for key in keys if live.get(key) != rows.get(key))
