"""The port of the event store. `memory` and `postgres` implement it; one contract suite holds both."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from eventstore.records import (
    EVERYTHING,
    Append,
    Appended,
    BareEvent,
    Condition,
    DetachedEnd,
    IdempotencyKey,
    RecordedEvent,
    Selection,
    Snapshot,
)


class EventStore(Protocol):
    """An append-only log of streams, with positions 1, 2, 3 … in commit order and without a gap."""

    async def append(self, append: Append) -> Appended:
        """Record the events durably, or raise `WrongExpectedVersion`, `IdempotencyConflict`, `StoreBusy` or
        `StoreUnavailable`. When it returns, the events are committed and fsynced."""

    async def append_together(
        self,
        appends: Sequence[Append],
        *,
        condition: Condition | None = None,
        idempotency: IdempotencyKey | None = None,
    ) -> Appended:
        """Record events of several streams, each with its expected version, all or nothing; keys of the single appends
        are refused. The answer has the first stream's version and the position of the last event.

        A condition is checked in the same transaction. Raises what `append` does, and `ConditionFailed`."""

    async def answered(self, key: IdempotencyKey) -> Appended | None:
        """The answer given to this key before, or None. Raises `IdempotencyConflict` for another fingerprint."""

    async def refuse(self, key: IdempotencyKey, stream: str, refusal: bytes) -> Appended:
        """Keeps a refusal as the answer to this key, so that every append with it gets that; or the answer that it has.

        Raises `IdempotencyConflict` and `StoreUnavailable`."""

    async def expire_keys(self, older_than: timedelta) -> int:
        """Forgets idempotency keys, and their answers, that are older; how many. What they did stays."""

    async def read_stream(
        self,
        stream: str,
        *,
        after: int = 0,
        until: int | None = None,
        recorded_until: datetime | None = None,
        backward: bool = False,
        limit: int = 1000,
    ) -> Sequence[RecordedEvent]:
        """Events of one stream with `after < version <= until`, at most `limit`: the oldest first, or the newest.

        `recorded_until` (aware) leaves out what was recorded later, so that a stream is read as it stood then.
        """

    async def read_log(
        self, *, after: int = 0, only: Selection = EVERYTHING, limit: int = 1000
    ) -> Sequence[RecordedEvent]:
        """Events of all streams with `position > after`, in position order, at most `limit`.

        A category or a type is looked for by reading what lies between; a correlation id has an index.
        """

    async def read_bare(self, *, after: int = 0, limit: int = 1000) -> Sequence[BareEvent]:
        """The same of all streams, in two thirds of the time: for who folds the whole log."""

    async def read_from_snapshot(
        self, stream: str, type: str, *, limit: int = 1000
    ) -> tuple[Snapshot | None, Sequence[RecordedEvent]]:
        """The newest snapshot of that type, or None, and the events after it, oldest first, at most `limit`."""

    async def keep_snapshot(self, snapshot: Snapshot) -> None:
        """Keeps it instead of older ones of its stream. Snapshots may be lost, or deleted, at any time."""

    async def detached_ends(self, *, after: int = 0, limit: int = 1000) -> Sequence[DetachedEnd]:
        """Where streams end in the ranges that were taken out, with `position > after`, in position order.

        The last of them is where the log that is there begins.
        """

    async def head(self) -> int:
        """The position of the last event, 0 for an empty store."""

    async def wait_beyond(self, position: int, seconds: float) -> int:
        """The head, as soon as it lies beyond `position` or `seconds` have passed."""
