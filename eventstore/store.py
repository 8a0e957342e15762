"""The port of the event store. `memory` and `postgres` implement it; one contract suite holds both."""

from collections.abc import Sequence
from typing import Protocol

from eventstore.records import Append, Appended, IdempotencyKey, RecordedEvent


class EventStore(Protocol):
    """An append-only log of streams, with positions 1, 2, 3 … in commit order and without a gap."""

    async def append(self, append: Append) -> Appended:
        """Record the events durably, or raise `WrongExpectedVersion`, `IdempotencyConflict`, `StoreBusy` or
        `StoreUnavailable`. When it returns, the events are committed and fsynced."""

    async def answered(self, key: IdempotencyKey) -> Appended | None:
        """The answer given to this key before, or None. Raises `IdempotencyConflict` for another fingerprint."""

    async def read_stream(
        self, stream: str, *, after: int = 0, until: int | None = None, limit: int = 1000
    ) -> Sequence[RecordedEvent]:
        """Events of one stream with `after < version <= until`, oldest first, at most `limit`."""

    async def read_log(self, *, after: int = 0, limit: int = 1000) -> Sequence[RecordedEvent]:
        """Events of all streams with `position > after`, in position order, at most `limit`."""

    async def head(self) -> int:
        """The position of the last event, 0 for an empty store."""

    async def wait_beyond(self, position: int, seconds: float) -> int:
        """The head, as soon as it lies beyond `position` or `seconds` have passed."""
