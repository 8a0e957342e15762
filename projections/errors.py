"""What can go wrong on the read side.

ProjectionError
├── TableMismatch    a table's columns are not those of its row: the view's version must be raised
├── Fenced           another worker has moved the position; nothing was written
├── FoldFailed       a view raised on a valid event; the projection stops there
└── ReadUnavailable  the read database or the topic can't be reached; nothing was lost
"""

from eventstore.records import Metadata


class ProjectionError(Exception):
    """An error of the read side."""


class TableMismatch(ProjectionError):
    """A table's columns are not those of its row."""


class Fenced(ProjectionError):
    """Another worker has moved the position of a partition; nothing was written."""


class FoldFailed(ProjectionError):
    """A view raised on a valid event."""

    def __init__(self, view: str, stream: str, version: int, why: str, metadata: Metadata) -> None:
        super().__init__(f"the view {view} fails on event {version} of stream {stream!r}: {why}")
        self.view, self.stream, self.version, self.metadata = view, stream, version, metadata


class ReadUnavailable(ProjectionError):
    """The read database or the topic can't be reached."""
