"""Which statement reads a selection of the log, and with what."""

from typing import LiteralString

from eventstore import sql
from eventstore.limits import VERSIONS
from eventstore.records import EVERYTHING, Selection

LOG = sql.statement("read_log")
SELECTED = sql.statement("read_selected")
CORRELATED = sql.statement("read_correlated")
TAGGED = sql.statement("read_tagged")


def selected(only: Selection, *, after: int, limit: int) -> tuple[LiteralString, dict[str, object]]:
    """The statement and its bounds."""
    bounds: dict[str, object] = {"after": bounded(after), "limit": limit}
    if only == EVERYTHING:
        return LOG, bounds
    bounds["prefix"] = None if only.category is None else f"{only.category}-"
    bounds["types"] = list(only.types) or None
    if only.correlation_id is None and not only.tags:
        return SELECTED, bounds
    bounds["tags"] = list(only.tags) or None
    if only.correlation_id is None:
        return TAGGED, bounds
    return CORRELATED, {**bounds, "correlation_id": only.correlation_id}


def bounded(number: int) -> int:
    return max(-1, min(number, VERSIONS))
