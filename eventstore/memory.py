"""The event store in memory: the twin for tests and examples. Nothing outlives the process."""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from msgspec.structs import replace

from eventstore.errors import ConditionFailed, IdempotencyConflict, WrongExpectedVersion
from eventstore.limits import (
    check,
    check_key,
    check_refusal,
    check_selection,
    check_snapshot,
    check_stream,
    check_time,
    check_together,
)
from eventstore.records import (
    EVERYTHING,
    Any,
    Append,
    Appended,
    BareEvent,
    Condition,
    DetachedEnd,
    Exactly,
    Expected,
    IdempotencyKey,
    NewEvent,
    NoStream,
    RecordedEvent,
    Selection,
    Snapshot,
)
from eventstore.watch import HeadWatch


class MemoryStore:
    """Behaves as `PostgresStore` does, as the contract suite holds; an append never waits."""

    def __init__(self) -> None:
        self._log: list[RecordedEvent] = []
        self._streams: dict[str, list[RecordedEvent]] = {}
        self._answers: dict[str, tuple[bytes, Appended, datetime]] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._watch = HeadWatch()

    async def append(self, append: Append) -> Appended:
        check(append)
        if append.idempotency is not None and (before := self._answer(append.idempotency)):
            return before
        stream = self._streams.get(append.stream, [])
        self._expect(append, len(stream))
        if append.events:
            stream = self._streams.setdefault(append.stream, stream)
            self._record(append.stream, stream, append.events)
        appended = Appended(append.stream, len(stream), stream[-1].position if stream else 0)
        if append.idempotency is not None:
            self._answers[append.idempotency.key] = (append.idempotency.fingerprint, appended, datetime.now(UTC))
        return appended

    async def append_together(
        self,
        appends: Sequence[Append],
        *,
        condition: Condition | None = None,
        idempotency: IdempotencyKey | None = None,
    ) -> Appended:
        check_together(appends, condition, idempotency)
        if idempotency is not None and (before := self._answer(idempotency)):
            return before
        if condition is not None:
            for event in self._log[max(0, condition.after) :]:
                if any(only.takes(event) for only in condition.none_of):
                    raise ConditionFailed(event.position)
        for append in appends:
            self._expect(append, len(self._streams.get(append.stream, [])))
        done = [await self.append(append) for append in appends]
        first = replace(done[0], position=done[-1].position)
        if idempotency is not None:
            self._answers[idempotency.key] = (idempotency.fingerprint, first, datetime.now(UTC))
        return first

    def _answer(self, key: IdempotencyKey) -> Appended | None:
        if key.key not in self._answers:
            return None
        fingerprint, appended, _ = self._answers[key.key]
        if fingerprint != key.fingerprint:
            raise IdempotencyConflict(key.key)
        return replace(appended, repeated=True)

    def _expect(self, append: Append, version: int) -> None:
        fits: dict[Expected, bool] = {Any(): True, NoStream(): version == 0, Exactly(version): True}
        if not fits.get(append.expected, False):
            raise WrongExpectedVersion(append.stream, append.expected, version)

    def _record(self, name: str, stream: list[RecordedEvent], events: Sequence[NewEvent]) -> None:
        now = datetime.now(UTC)
        for event in events:
            recorded = RecordedEvent(
                position=len(self._log) + 1,
                stream=name,
                version=len(stream) + 1,
                id=event.id,
                type=event.type,
                time=event.time.astimezone(UTC),
                recorded_at=now,
                data=event.data,
                metadata=event.metadata,
            )
            self._log.append(recorded)
            stream.append(recorded)
        self._watch.rise(len(self._log))

    async def answered(self, key: IdempotencyKey) -> Appended | None:
        check_key(key)
        return self._answer(key)

    async def refuse(self, key: IdempotencyKey, stream: str, refusal: bytes) -> Appended:
        check_refusal(key, stream, refusal)
        refused = Appended(stream, 0, 0, repeated=True, refusal=refusal)
        self._answers.setdefault(key.key, (key.fingerprint, refused, datetime.now(UTC)))
        return self._answer(key) or refused

    async def expire_keys(self, older_than: timedelta) -> int:
        latest = datetime.now(UTC) - older_than
        old = [key for key, (_, _, recorded_at) in self._answers.items() if recorded_at <= latest]
        for key in old:
            del self._answers[key]
        return len(old)

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
        check_stream(stream)
        events = self._streams.get(stream, [])
        end = len(events) if until is None else max(0, until)
        found = [
            event
            for event in events[max(0, after) : end]
            if recorded_until is None or event.recorded_at <= check_time(recorded_until)
        ]
        return (found[::-1] if backward else found)[: max(0, limit)]

    async def read_log(
        self, *, after: int = 0, only: Selection = EVERYTHING, limit: int = 1000
    ) -> Sequence[RecordedEvent]:
        check_selection(only)
        start = bisect_right(self._log, after, key=lambda event: event.position)
        return list(islice((event for event in self._log[start:] if only.takes(event)), max(0, limit)))

    async def read_bare(self, *, after: int = 0, limit: int = 1000) -> Sequence[BareEvent]:
        found = await self.read_log(after=after, limit=limit)
        return [BareEvent(one.position, one.stream, one.version, one.type, one.time, one.data) for one in found]

    async def detached_ends(self, *, after: int = 0, limit: int = 1000) -> Sequence[DetachedEnd]:
        del after, limit
        return []  # it has no ranges

    async def read_from_snapshot(
        self, stream: str, type: str, *, limit: int = 1000
    ) -> tuple[Snapshot | None, Sequence[RecordedEvent]]:
        found = self._snapshots.get(stream)
        if found is not None and found.type != type:
            found = None
        return found, await self.read_stream(stream, after=found.version if found else 0, limit=limit)

    async def keep_snapshot(self, snapshot: Snapshot) -> None:
        check_snapshot(snapshot)
        kept = self._snapshots.get(snapshot.stream)
        if kept is None or kept.version <= snapshot.version:
            self._snapshots[snapshot.stream] = snapshot

    async def head(self) -> int:
        return len(self._log)

    async def wait_beyond(self, position: int, seconds: float) -> int:
        return await self._watch.wait_beyond(position, seconds)
