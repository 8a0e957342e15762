"""Pages of a view's rows: in which order, and behind which row they begin."""

from dataclasses import dataclass
from typing import Any

from domains.kernel import Row

Rank = tuple[bool, Any, bytes]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: behind the row with this `key`, and this `value` in the column; without a key, at the start.

    Without a column rows are in the order of their keys, as are those with the same value. Rows without a value come
    last; first, if `descending`, which turns the whole order around.
    """

    column: str | None = None
    descending: bool = False
    value: Any = None
    key: str = ""

    def rank(self, row: Row, key: str) -> Rank:
        """Where a row stands in the order from the smallest on; `key` is the column of its key."""
        return ranked(getattr(row, self.column) if self.column else None, getattr(row, key))

    def before(self, rank: Rank) -> bool:
        """Whether a row of this rank comes behind this place."""
        here = ranked(self.value, self.key)
        return not self.key or (rank < here if self.descending else rank > here)


def ranked(value: Any, key: str) -> Rank:
    """Texts are compared byte by byte, as the tables do it."""
    comparable = value.encode() if isinstance(value, str) else value
    return value is None, b"" if value is None else comparable, key.encode()
