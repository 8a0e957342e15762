"""What a stream of changes tells, and where it goes on."""

import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from domains.kernel import Domain, Row
from infra.web import Problem
from projections.plan import RESUMABLE_SECONDS
from projections.rows import AnyView
from projections.serving.tail import Change, Offsets

REMEMBERED = 1000
NUMBER = r"\.(\d{1,18})"


def itself(row: Row) -> BaseModel:
    return row


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a stream is asked for: all changes, those of a key, or those of the rows that have these values.

    Who is `bound` to his own rows hears nothing of others, not even that they are gone. It ends at the time `until`,
    and each row is told as `shown`.
    """

    key: str | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)
    snapshot: bool = False
    cursor: Offsets | None = None
    bound: bool = False
    until: float = math.inf
    shown: Callable[[Row], BaseModel] = itself


class Told:
    """What a stream has told, so that it tells nothing twice: the last row of each key, for so many keys.

    A row that leaves the filter is told as removed. Of a key of which nothing is known that is told as well, unless
    all rows that were there at the beginning are known.
    """

    def __init__(self, view: AnyView, wanted: Wanted) -> None:
        self.complete = bool(wanted.filters) and wanted.cursor is None and wanted.key is None
        self._view, self._wanted = view, wanted
        self._last: OrderedDict[str, int | None] = OrderedDict()

    def tell(self, change: Change) -> Literal["row", "removed"] | None:
        """What a change is for this stream; None: nothing new."""
        if self._wanted.key not in (None, change.key):
            return None
        known, last = change.key in self._last, self._last.get(change.key)
        value = change.value
        if value is not None and self._fits(value):
            self._remember(change.key, hash(value))
            return None if known and last == hash(value) else "row"
        self._remember(change.key, None)
        return None if last is None and (known or self.complete or self._wanted.bound) else "removed"

    def is_there(self, row: Row, value: bytes | None) -> None:
        """A row was there at the beginning; its value, if it was told."""
        self._remember(getattr(row, self._view.key), 0 if value is None else hash(value))

    def _fits(self, value: bytes) -> bool:
        if not self._wanted.filters:
            return True
        row = self._view.row.model_validate_json(value)
        return fits(row, self._wanted.filters)

    def _remember(self, key: str, what: int | None) -> None:
        self._last[key] = what
        self._last.move_to_end(key)
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
            self.complete = False


def fits(row: Row, filters: Mapping[str, Any]) -> bool:
    return all(getattr(row, name) == value for name, value in filters.items())


def encoded(view: AnyView, cursor: Offsets) -> str:
    """Where a stream goes on, and when that was said: `order-details.v1.6925d3a1.12.40.7.0`."""
    return ".".join([f"{view.name}.v{view.version}", f"{int(time.time()):x}", *map(str, cursor)])


def heartbeat(view: AnyView, cursor: Offsets) -> bytes:
    """Tells nobody anything, but moves the reader's `Last-Event-ID`."""
    return b": here\nid: " + encoded(view, cursor).encode() + b"\n\n"


def cursor_of(domain: Domain, view: AnyView, given: str) -> Offsets:
    """Raises `Problem` 400 for what was never given, and 410 for what was given too long ago."""
    whole = re.escape(f"{view.name}.v{view.version}") + r"\.([0-9a-f]{8})" + NUMBER * domain.partitions
    if (found := re.fullmatch(whole, given, re.ASCII)) is None:
        raise Problem(400, "invalid-cursor", "this is no Last-Event-ID of this stream")
    said, *offsets = found.groups()
    if not -60 < time.time() - int(said, 16) < RESUMABLE_SECONDS:
        raise expired()
    return [int(offset) for offset in offsets]


def expired() -> Problem:
    return Problem(410, "cursor-expired", "the changes from there on are no longer all known; begin anew")
