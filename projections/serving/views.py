"""Reads views for answers: rows, pages, and how far and how fresh they are."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.errors import InsufficientPrivilege, UndefinedTable
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from domains.kernel import Domain, Row
from eventstore.link import parameters, sentence
from projections import sql
from projections.errors import ReadUnavailable
from projections.paging import Place
from projections.parked import parked
from projections.parking import EventPlace, Parked
from projections.postgres import PROJECTION
from projections.rows import AnyView
from projections.serving.shared import Shared
from projections.tables import filter_name, tables

STATE, PARKED_AT, PARKED_BY_VIEW = (sql.text(name) for name in ("state", "parked_at", "parked_by_view"))
SKIPPED, SPOTS, REBUILDING, REBUILT = (sql.text(name) for name in ("skipped", "parked_page", "rebuilding", "rebuilt"))
DRIFT_BY_VIEW = sql.text("drift_by_view")
POOL = 8
WAIT_SECONDS = 2.0
POLL_SECONDS = 0.05
SILENT_SECONDS = 5.0
NEVER = 1e9
# A read database that was lost gets its tables, and then the rights on them, while it is rebuilt.
BEING_REBUILT = (UndefinedTable, InsufficientPrivilege)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far each partition is, for how many seconds the views may lack something, and whether any key is parked."""

    positions: Mapping[int, int]
    age: float
    parked: bool = False


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A rebuild that goes on, since so many seconds, or has failed; `silent` is for how long it has told nothing."""

    done: int
    total: int
    error: str | None
    seconds: float
    silent: float

    @property
    def goes_on(self) -> bool:
        """It has told of itself a moment ago."""
        return self.error is None and self.silent < SILENT_SECONDS

    @property
    def eta(self) -> float | None:
        """In how many seconds all is folded, if it goes on like this."""
        return self.seconds / self.done * (self.total - self.done) if self.done else None


@dataclass(frozen=True, slots=True)
class Swap:
    """The last swap of a view: a rebuild or a rollback, and how many rows were others afterwards."""

    what: str
    changed: int
    swapped_at: datetime


class Views:
    """Reads one domain's views."""

    def __init__(self, conninfo: str, domain: Domain) -> None:
        self._domain, self._tables = domain, tables(domain)
        self._moved = asyncio.Event()
        self._progress = Shared(self._now)
        self._pool = AsyncConnectionPool(
            kwargs={**parameters(conninfo), "autocommit": True, "row_factory": dict_row},
            min_size=1,
            max_size=POOL,
            timeout=WAIT_SECONDS,
            open=False,
        )

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    def moved(self) -> None:
        """Wakes whoever waits: the projection of this process has moved."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def one(self, view: AnyView, key: str) -> Row | None:
        found = await self._fetch(self._tables[view.name].one, {"key": key})
        return view.row.model_validate(found[0]) if found else None

    async def page(self, view: AnyView, filters: Mapping[str, Any], place: Place, limit: int) -> list[Row]:
        """Rows with these values, behind a place and in its order."""
        told = {filter_name(name): value for name, value in filters.items()}
        told |= {"value": place.value, "after": place.key, "limit": limit}
        found = await self._fetch(self._tables[view.name].page(tuple(filters), place), told)
        return self._tables[view.name].rows(found)

    async def progress(self) -> Progress:
        """How far the views are now. Raises `ReadUnavailable`."""
        return await self._progress.answer()

    async def _now(self) -> Progress:
        rows = await self._fetch(STATE, {"projection": PROJECTION})
        ages = [row["age"] if row["age"] is not None else NEVER for row in rows]
        return Progress(
            {row["partition"]: row["position"] for row in rows}, max([0.0, *ages]), any(row["parked"] for row in rows)
        )

    async def parked(self, view: AnyView, key: str) -> int | None:
        """The position of the first event that waits before a row, or None."""
        told = {"view": self._tables[view.name].name, "key": key, "stream": self._domain.stream(key)}
        [found] = await self._fetch(PARKED_AT, told)
        position: int | None = found["position"]
        return position

    async def skipped(self, view: AnyView) -> frozenset[EventPlace]:
        """The events that a person took out of a view for good."""
        rows = await self._fetch(SKIPPED, {"view": self._tables[view.name].name})
        return frozenset(EventPlace(**row) for row in rows)

    async def parking(self) -> Mapping[str, tuple[int, str | None]]:
        """Of each view that has any: how many keys are parked, and why the last one is."""
        names = {table.name: name for name, table in self._tables.items()}
        rows = await self._fetch(PARKED_BY_VIEW, {})
        return {names[row["view"]]: (row["keys"], row["error"]) for row in rows if row["view"] in names}

    async def spots(self, view: AnyView, most: int) -> list[Parked]:
        """What is parked of a view: the newest, at most so many."""
        rows = await self._fetch(SPOTS, {"view": self._tables[view.name].name, "limit": most})
        return [parked(row) for row in rows]

    async def rebuilds(self) -> tuple[Mapping[str, Rebuild], Mapping[str, Swap]]:
        """By view: rebuilds that go on or have failed, and the last swaps."""
        names = {table.name: name for name, table in self._tables.items()}
        going, swaps = await self._fetch(REBUILDING, {}), await self._fetch(REBUILT, {})
        return (
            {names[row.pop("name")]: Rebuild(**row) for row in going if row["name"] in names},
            {names[row.pop("name")]: Swap(**row) for row in swaps if row["name"] in names},
        )

    async def drift(self) -> Mapping[str, int]:
        """Of each view that has any: how many rows are known to differ from what the store says."""
        names = {table.name: name for name, table in self._tables.items()}
        return {names[row["view"]]: row["rows"] for row in await self._fetch(DRIFT_BY_VIEW, {}) if row["view"] in names}

    async def reached(self, wanted: Mapping[int, int], seconds: float) -> tuple[bool, Progress]:
        """Whether each of these partitions has come to its position, as soon as all have or `seconds` have passed."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            moved, progress = self._moved, await self.progress()
            if all(progress.positions.get(partition, 0) >= position for partition, position in wanted.items()):
                return True, progress
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False, progress
            with suppress(TimeoutError):
                await asyncio.wait_for(moved.wait(), min(left, POLL_SECONDS))

    async def _fetch(self, query: Any, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows. A connection that turns out broken says nothing of the server: another one is asked."""
        for left in reversed(range(POOL + 1)):
            connection = None
            try:
                async with self._pool.connection() as connection:
                    return await (await connection.execute(query, parameters, prepare=True)).fetchall()  # type: ignore[return-value]
            except BEING_REBUILT as error:
                raise ReadUnavailable(sentence(error)) from error
            except (psycopg.OperationalError, PoolTimeout) as error:
                if not left or connection is None or not connection.closed:
                    raise ReadUnavailable(sentence(error)) from error
        raise AssertionError("unreachable")
