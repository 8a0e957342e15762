"""The port of the read database, and its twin in memory."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from domains.kernel import Row, View
from projections.errors import Fenced, RowRefused
from projections.parking import Lot, MemoryParking, Parking, Spot
from projections.tables import column

AnyView = View[Any, Any]


class Mark(NamedTuple):
    """How far a partition is: the position of the event folded last, and the offset of its record."""

    position: int = 0
    offset: int = -1
    touched: int = 0


class Move(NamedTuple):
    """From where to where a position moves, and when the last event of these was recorded."""

    old: Mark
    new: Mark
    recorded_at: datetime


class Unreadable(NamedTuple):
    """Stands for a row that its table has and today's code can't read."""

    why: str


Held = dict[str, Row | Unreadable]


class Want(NamedTuple):
    """What a fold needs of a view: rows, in `ordered` keys, and what is parked of these and of whole streams."""

    view: AnyView
    keys: Collection[str]
    streams: Collection[str]


class Taken(NamedTuple):
    parked: set[Spot]
    rows: Held


class Transaction(Protocol):
    """Everything or nothing: it commits when its block ends, unless an exception leaves it."""

    async def positions(self) -> Mapping[int, Mark]:
        """How far each partition is."""

    async def lock(self, view: AnyView) -> None:
        """Keeps others from changing rows of a shared view until the end of the transaction."""

    async def load(self, view: AnyView, keys: Collection[str]) -> Held:
        """Those rows that are there; nobody else changes them until the end of the transaction."""

    async def take(self, wants: Sequence[Want]) -> tuple[Mapping[int, Mark], list[Taken]]:
        """All that a batch begins with: how far each partition is, and what each view needs; shared ones are locked.

        Rows and what is parked stay so until the end of the transaction.
        """

    def together(self) -> AbstractAsyncContextManager[None]:
        """What is written inside does not wait for each other; what a table can't hold is raised at its end at last."""

    async def save(self, view: AnyView, rows: Mapping[str, Row | None]) -> None:
        """Writes rows; None takes one away. Raises `RowRefused` when a table can't hold one."""

    def parking(self, view: AnyView) -> Parking:
        """What is parked of a view."""

    def attempt(self) -> AbstractAsyncContextManager[None]:
        """A part that is undone when an exception leaves its block; the transaction goes on."""

    async def advance(self, moves: Mapping[int, Move]) -> None:
        """Moves positions, by partition. Raises `Fenced` when one is not where we believe it is."""

    async def touch(self) -> None:
        """Lets a worker know that rows were changed by somebody else."""


def to_publish(held: Held, keys: Iterable[str]) -> dict[str, Row | None]:
    """What is to be said of these keys: their rows, or that there is none. Of an unreadable row nothing can be said."""
    found = {key: held.get(key) for key in keys}
    return {key: row for key, row in found.items() if not isinstance(row, Unreadable)}


class ReadDatabase(Protocol):
    """Where the rows of a domain's views and the positions of its projection are kept together."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Raises `ReadUnavailable` when the database can't be reached; then nothing was written."""

    async def positions(self) -> Mapping[int, Mark]:
        """How far each partition is. Raises `ReadUnavailable`."""


class MemoryDatabase:
    """A read database for tests and examples."""

    def __init__(self, partitions: int) -> None:
        self.rows: dict[str, dict[str, Row]] = {}
        self.progress = dict.fromkeys(range(partitions), Mark())
        self.lots: dict[str, Lot] = {}

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["MemoryTransaction"]:
        lots = {name: lot.copy() for name, lot in self.lots.items()}
        begun = MemoryTransaction(copied(self.rows), dict(self.progress), lots)
        seen = dict(self.progress)
        yield begun
        if self.progress != seen:
            raise Fenced("another transaction was faster")
        self.rows, self.progress, self.lots = begun.rows, begun.progress, begun.lots

    async def positions(self) -> Mapping[int, Mark]:
        return dict(self.progress)


class MemoryTransaction:
    def __init__(self, rows: dict[str, dict[str, Row]], progress: dict[int, Mark], lots: dict[str, Lot]) -> None:
        self.rows, self.progress, self.lots = rows, progress, lots

    async def positions(self) -> Mapping[int, Mark]:
        return dict(self.progress)

    async def lock(self, view: AnyView) -> None:
        """One transaction at a time is all there is."""

    async def load(self, view: AnyView, keys: Collection[str]) -> Held:
        held = self.rows.get(view.name, {})
        return {key: held[key] for key in keys if key in held}

    async def save(self, view: AnyView, rows: Mapping[str, Row | None]) -> None:
        held = self.rows.setdefault(view.name, {})
        for key, row in rows.items():
            if row is not None and (why := unfit(row)):
                raise RowRefused(view.name, why)
            if row is None:
                held.pop(key, None)
            else:
                held[key] = row

    def parking(self, view: AnyView) -> Parking:
        return MemoryParking(self.lots.setdefault(view.name, Lot()))

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        before = copied(self.rows)
        try:
            yield
        except BaseException:
            self.rows = before
            raise

    async def take(self, wants: Sequence[Want]) -> tuple[Mapping[int, Mark], list[Taken]]:
        return await self.positions(), [await self._taken(*want) for want in wants]

    async def _taken(self, view: AnyView, keys: Collection[str], streams: Collection[str]) -> Taken:
        return Taken(self.lots.get(view.name, Lot()).held(keys, streams), await self.load(view, keys))

    def together(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def advance(self, moves: Mapping[int, Move]) -> None:
        for partition, move in moves.items():
            if self.progress[partition] != move.old:
                raise Fenced(f"partition {partition} is at {self.progress[partition]}, not at {move.old}")
            self.progress[partition] = move.new

    async def touch(self) -> None:
        for partition, mark in self.progress.items():
            self.progress[partition] = mark._replace(touched=mark.touched + 1)


def copied(rows: Mapping[str, dict[str, Row]]) -> dict[str, dict[str, Row]]:
    return {name: dict(held) for name, held in rows.items()}


def unfit(row: Row) -> str | None:
    """Why no table can hold a row, or None: what PostgreSQL refuses, for its twin."""
    if any(isinstance(value, int) and not -(2**63) <= value < 2**63 for _, value in row):
        return "bigint out of range"
    for name, told in type(row).model_fields.items():
        if getattr(row, name) is None and not column(told.annotation)[1]:
            return f"nothing stands in {name}"
    try:
        text = row.model_dump_json()
    except ValueError as error:
        return str(error)
    return "a text has a NUL" if "\\u0000" in text else None


def split(rows: Mapping[str, Row | None]) -> tuple[list[Row], list[str]]:
    """What is to be written, and the keys of what is to be taken away."""
    return [row for row in rows.values() if row is not None], [key for key, row in rows.items() if row is None]


def ordered(keys: Iterable[str]) -> list[str]:
    """Keys in one order for all, so that two transactions never wait for each other."""
    return sorted(set(keys), key=str.encode)
