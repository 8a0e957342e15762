"""What can go wrong on the read side.

ProjectionError
├── TableMismatch    a table's columns are not those of its row: the view's version must be raised
├── FoldChanged      a view's code makes other rows than those that are there: its version must be raised
├── Fenced           another worker has moved the position; nothing was written
├── Superseded       other versions of the views are live: this process is too old, or too new
├── FoldFailed       a view can't fold an event; the key is parked
├── RowRefused       a view's table can't hold a row; the key is parked
├── NotParked        there is no such key in the parking of a view
├── RebuildRefused   the view can't be rebuilt, replayed or rolled back now; the live one is untouched
│   └── Unwatched      nothing can: what its effects go through is not there to be watched
├── RebuildFailed    a view raised while it was folded anew; the live one is untouched
│   └── EffectRefused  it reached for the world outside
├── NotProved        what was made anew is not what was folded, or is folded once more; the live one is untouched
├── ReadUnavailable  the read database or the topic can't be reached; nothing was lost
├── BeyondReach      a fold of the past would take too many events, or events that are no longer in the database
├── FoldsWait        too many folds of the past wait for their turn
└── Overtaken        a reader of changes was slower than they come, and what it lacks has made room
"""

from typing import Any

from domains.kernel import Domain, View
from eventstore.records import BareEvent, RecordedEvent


class ProjectionError(Exception):
    """An error of the read side."""


class TableMismatch(ProjectionError):
    """A table's columns are not those of its row."""


class FoldChanged(ProjectionError):
    """A view's code makes other rows than those that are there, though its version is the same."""

    def __init__(self, domain: Domain, view: View[Any, Any], what: str) -> None:
        super().__init__(
            f"the fold of view {view.name!r} has changed since its rows were made: {what}: "
            f"raise the view's version from {view.version} to {view.version + 1}; "
            f"or, once no worker of the code before is at work: headrace projection rebuild {domain.name}/{view.name}"
        )


class Fenced(ProjectionError):
    """Another worker has moved the position of a partition; nothing was written."""


class Superseded(ProjectionError):
    """Other versions of the views are live; nothing was written."""


class FoldFailed(ProjectionError):
    """A view can't fold an event."""


class RowRefused(ProjectionError):
    """A view's table can't hold a row."""

    def __init__(self, view: str, why: str) -> None:
        super().__init__(f"the table of {view} can't hold the row: {why}")


class NotParked(ProjectionError):
    """There is no such key in the parking of a view."""


class RebuildRefused(ProjectionError):
    """The view can't be rebuilt, replayed or rolled back now; the live one is untouched."""


class Unwatched(RebuildRefused):
    """Nothing can be folded anew: what effects go through is not there to be watched."""


class RebuildFailed(ProjectionError):
    """A view raised while it was folded anew; the live one is untouched."""

    def __init__(self, view: str, event: BareEvent | RecordedEvent, why: str) -> None:
        where = f"event {event.version} of stream {event.stream!r}, position {event.position}"
        super().__init__(f"the view {view} fails on {where}: {why}")
        self.view, self.event, self.why = view, event, why


class EffectRefused(RebuildFailed):
    """A view reached for the world outside while it was folded anew."""


class NotProved(ProjectionError):
    """A view made anew is not what was folded, or what is folded once more; the live one is untouched."""

    def __init__(self, view: str, why: str) -> None:
        super().__init__(f"the view {view} was made anew, and does not hold: {why}")


class ReadUnavailable(ProjectionError):
    """The read database or the topic can't be reached."""


class BeyondReach(ProjectionError):
    """What is asked about lies beyond the bound of a fold; the message says which."""


class FoldsWait(ProjectionError):
    """Too many folds of the past wait for their turn."""


class Overtaken(ProjectionError):
    """A reader of changes was slower than they come."""
