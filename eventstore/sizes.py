"""How large a store is: by table, by index, and for each event."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from eventstore import sql

SIZES = sql.statement("sizes")
HEAD = sql.statement("head")


@dataclass(frozen=True, slots=True)
class TableSize:
    """Bytes of a table without its indexes, and of each index."""

    table: str
    bytes: int
    indexes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Sizes:
    """The events of a store, and its tables, the largest first."""

    events: int
    tables: tuple[TableSize, ...]

    @property
    def bytes(self) -> int:
        return sum(table.bytes + sum(table.indexes.values()) for table in self.tables)

    def per_event(self, size: int) -> float:
        """0 for an empty store."""
        return size / self.events if self.events else 0.0


async def sizes(connection: AsyncConnection[tuple[Any, ...]]) -> Sizes:
    async with connection.cursor() as cursor:
        [[head]] = await (await cursor.execute(HEAD)).fetchall()
        rows = await (await cursor.execute(SIZES)).fetchall()
    return Sizes(head, tuple(TableSize(name, size, indexes) for name, size, indexes in rows))
