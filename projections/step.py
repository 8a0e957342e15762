"""One event into one row: the step that each event takes, whichever source it comes from."""

from typing import TypeGuard

from domains.kernel import Event, Row
from projections.errors import FoldFailed
from projections.rows import AnyView

LONGEST_KEY = 1024
PLAIN = LONGEST_KEY // 4  # characters, whatever they are, fit


def key_of(view: AnyView, fact: Event) -> str | None:
    """The key of the row that an event touches; None: the view has no use for it. Raises `FoldFailed`."""
    try:
        key = view.key_of(fact)
    except Exception as error:
        raise FoldFailed(f"{type(error).__name__}: {error}") from error
    # Most keys are plain: to see that takes half the time of the whole check.
    if key is None or (type(key) is str and len(key) < PLAIN and key.isprintable()) or is_key(key):
        return key
    raise FoldFailed(f"{key!r:.80} is no key")


def row_after(view: AnyView, key: str, row: Row | None, fact: Event) -> Row | None:
    """The row after an event. Raises `FoldFailed`."""
    try:
        folded: Row | None = view.project(row, fact)
        if folded is None or (isinstance(folded, view.row) and getattr(folded, view.key) == key):
            return folded
    except Exception as error:
        raise FoldFailed(f"{type(error).__name__}: {error}") from error
    raise FoldFailed(f"it makes no {view.row.__name__} with the key {key!r}")


def is_key(key: object) -> TypeGuard[str]:
    """Whether a table can have this key."""
    if not isinstance(key, str) or "\x00" in key:
        return False
    if key.isascii():
        return len(key) <= LONGEST_KEY
    try:
        return len(key.encode()) <= LONGEST_KEY
    except UnicodeEncodeError:
        return False
