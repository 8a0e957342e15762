"""What can go wrong on the read side.

ProjectionError
├── TableMismatch    a table's columns are not those of its row: the view's version must be raised
├── Fenced           another worker has moved the position; nothing was written
├── FoldFailed       a view can't fold an event; the key is parked
├── RowRefused       a view's table can't hold a row; the key is parked
├── NotParked        there is no such key in the parking of a view
└── ReadUnavailable  the read database or the topic can't be reached; nothing was lost
"""


class ProjectionError(Exception):
    """An error of the read side."""


class TableMismatch(ProjectionError):
    """A table's columns are not those of its row."""


class Fenced(ProjectionError):
    """Another worker has moved the position of a partition; nothing was written."""


class FoldFailed(ProjectionError):
    """A view can't fold an event."""


class RowRefused(ProjectionError):
    """A view's table can't hold a row."""

    def __init__(self, view: str, why: str) -> None:
        super().__init__(f"the table of {view} can't hold the row: {why}")


class NotParked(ProjectionError):
    """There is no such key in the parking of a view."""


class ReadUnavailable(ProjectionError):
    """The read database or the topic can't be reached."""
