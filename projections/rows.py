"""The port of the read database, and its twin in memory."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from domains.kernel import Row, View
from projections.errors import Fenced

AnyView = View[Any, Any]


class Mark(NamedTuple):
    """How far a partition is: the position of the event folded last, and the offset of its record."""

    position: int = 0
    offset: int = -1


class Transaction(Protocol):
    """Everything or nothing: it commits when its block ends, unless an exception leaves it."""

    async def positions(self) -> Mapping[int, Mark]:
        """How far each partition is."""

    async def lock(self, view: AnyView) -> None:
        """Keeps others from changing rows of a shared view until the end of the transaction."""

    async def load(self, view: AnyView, keys: Collection[str]) -> dict[str, Row]:
        """Those rows that are there."""

    async def save(self, view: AnyView, rows: Mapping[str, Row | None]) -> None:
        """Writes rows; None takes one away."""

    async def advance(self, partition: int, old: Mark, new: Mark, recorded_at: datetime) -> None:
        """Moves a position. Raises `Fenced` when it is not where we believe it is."""


class ReadDatabase(Protocol):
    """Where the rows of a domain's views and the positions of its projection are kept together."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Raises `ReadUnavailable` when the database can't be reached; then nothing was written."""


class MemoryDatabase:
    """A read database for tests and examples."""

    def __init__(self, partitions: int) -> None:
        self.rows: dict[str, dict[str, Row]] = {}
        self.progress = dict.fromkeys(range(partitions), Mark())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["MemoryTransaction"]:
        begun = MemoryTransaction({name: dict(rows) for name, rows in self.rows.items()}, dict(self.progress))
        seen = dict(self.progress)
        yield begun
        if self.progress != seen:
            raise Fenced("another transaction was faster")
        self.rows, self.progress = begun.rows, begun.progress


class MemoryTransaction:
    def __init__(self, rows: dict[str, dict[str, Row]], progress: dict[int, Mark]) -> None:
        self.rows, self.progress = rows, progress

    async def positions(self) -> Mapping[int, Mark]:
        return dict(self.progress)

    async def lock(self, view: AnyView) -> None:
        """One transaction at a time is all there is."""

    async def load(self, view: AnyView, keys: Collection[str]) -> dict[str, Row]:
        held = self.rows.get(view.name, {})
        return {key: held[key] for key in keys if key in held}

    async def save(self, view: AnyView, rows: Mapping[str, Row | None]) -> None:
        held = self.rows.setdefault(view.name, {})
        for key, row in rows.items():
            if row is None:
                held.pop(key, None)
            else:
                held[key] = row

    async def advance(self, partition: int, old: Mark, new: Mark, recorded_at: datetime) -> None:  # noqa: ARG002
        if self.progress[partition] != old:
            raise Fenced(f"partition {partition} is at {self.progress[partition]}, not at {old}")
        self.progress[partition] = new


def split(rows: Mapping[str, Row | None]) -> tuple[list[Row], list[str]]:
    """What is to be written, and the keys of what is to be taken away."""
    return [row for row in rows.values() if row is not None], [key for key, row in rows.items() if row is None]


def ordered(keys: Iterable[str]) -> list[str]:
    """Keys in one order for all, so that two transactions never wait for each other."""
    return sorted(set(keys), key=str.encode)
