"""The event store on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any as Anything

from eventstore import sql
from eventstore.batch import Command, decode_metadata
from eventstore.committer import GroupCommitter, Limits
from eventstore.errors import EventStoreError, IdempotencyConflict
from eventstore.joint import Joint
from eventstore.limits import (
    VERSIONS,
    check,
    check_key,
    check_refusal,
    check_selection,
    check_snapshot,
    check_stream,
    check_time,
    check_together,
)
from eventstore.readers import Readers
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
from eventstore.selecting import bounded, selected
from eventstore.session import ANSWERED, PostgresSession, answered, refused
from eventstore.watch import HeadWatch, Listener

EXPIRE_KEYS = sql.statement("expire_keys")
READ_STREAM = sql.statement("read_stream")
READ_STREAM_BACKWARD = sql.statement("read_stream_backward")
READ_BARE = sql.statement("read_bare")
DETACHED_ENDS = sql.statement("detached_ends")
READ_FROM_SNAPSHOTS = sql.statement("read_from_snapshots")
KEEP_SNAPSHOT = sql.statement("keep_snapshot")
HEAD = sql.statement("head")
REFUSE = sql.statement("refuse")
PAGE = 10_000
END_OF_TIME = datetime.max.replace(tzinfo=UTC)
VERSION = attrgetter("version")
FromSnapshot = tuple[Snapshot | None, Sequence[RecordedEvent]]


class PostgresStore:
    """An event store in one PostgreSQL database, whose tables `python -m eventstore migrate` made.

    While PostgreSQL can't be reached every call fails fast with `StoreUnavailable`; the store comes back by itself.
    """

    def __init__(self, conninfo: str, limits: Limits | None = None) -> None:
        self._watch = HeadWatch()
        self._readers = Readers(conninfo)
        self._from_snapshots, self._refusals = Joint(self._read_from_snapshots), Joint(self._refuse)
        self._refusing = asyncio.Lock()
        self._listener = Listener(conninfo, self._watch, self.head)
        self._committer = GroupCommitter(lambda: PostgresSession.connect(conninfo), limits, self._watch.rise)

    @classmethod
    @asynccontextmanager
    async def open(cls, conninfo: str, limits: Limits | None = None) -> AsyncIterator["PostgresStore"]:
        """A store for the time of a `with`. It opens even while the database is down: see `problem`."""
        store = cls(conninfo, limits)
        await store._committer.open()
        try:
            yield store
        finally:
            await store._committer.close()
            await store._listener.close()
            await store._readers.close()

    def problem(self) -> str | None:
        """Why nothing can be appended now, or None."""
        return self._committer.down

    @property
    def waiting(self) -> int:
        """How many appends wait for a batch."""
        return self._committer.waiting

    async def append(self, append: Append) -> Appended:
        check(append)
        return await self._committed(Command.of(append))

    async def append_together(
        self,
        appends: Sequence[Append],
        *,
        condition: Condition | None = None,
        idempotency: IdempotencyKey | None = None,
    ) -> Appended:
        check_together(appends, condition, idempotency)
        return await self._committed(Command.together(appends, condition, idempotency))

    async def answered(self, key: IdempotencyKey) -> Appended | None:
        check_key(key)
        for row in await self._readers.fetch(ANSWERED, {"key": key.key}):
            answer = answered(key, row, repeated=True)
            if isinstance(answer, EventStoreError):
                raise answer
            return answer
        return None

    async def refuse(self, key: IdempotencyKey, stream: str, refusal: bytes) -> Appended:
        check_refusal(key, stream, refusal)
        await self._refusals.answer((key, stream, refusal))
        return await self.answered(key) or await self.refuse(key, stream, refusal)

    async def _refuse(self, refusals: Sequence[tuple[IdempotencyKey, str, bytes]]) -> Sequence[None]:
        keys, streams, told = zip(*refusals, strict=True)
        bound = {"keys": [key.key for key in keys], "fingerprints": [refused(key) for key in keys]}
        async with self._refusing:  # each holds the lock of the head; they must not have all readers, too
            await self._readers.fetch(REFUSE, {**bound, "streams": [*streams], "refusals": [*told]})
        return [None] * len(refusals)

    async def _committed(self, command: Command) -> Appended:
        """What a command came to, which may be what was refused under its key."""
        while True:
            try:
                return await self._committer.append(command)
            except IdempotencyConflict:
                assert command.idempotency is not None  # noqa: S101  # it is in conflict
                if (answer := await self.answered(command.idempotency)) is not None:
                    return answer

    async def expire_keys(self, older_than: timedelta) -> int:
        gone = 0
        while True:
            count: int
            [[count]] = await self._readers.fetch(EXPIRE_KEYS, {"older_than": older_than, "limit": PAGE})
            gone += count
            if count < PAGE:
                return gone

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
        bounds = {
            "stream": stream,
            "after": bounded(after),
            "until": VERSIONS if until is None else bounded(until),
            "recorded_until": END_OF_TIME if recorded_until is None else check_time(recorded_until),
            "limit": page(limit),
        }
        rows = await self._readers.fetch(READ_STREAM_BACKWARD if backward else READ_STREAM, bounds)
        return [recorded(row) for row in rows]

    async def read_log(
        self, *, after: int = 0, only: Selection = EVERYTHING, limit: int = 1000
    ) -> Sequence[RecordedEvent]:
        check_selection(only)
        query, bounds = selected(only, after=after, limit=page(limit))
        return [recorded(row) for row in await self._readers.fetch(query, bounds)]

    async def read_bare(self, *, after: int = 0, limit: int = 1000) -> Sequence[BareEvent]:
        bounds: dict[str, object] = {"after": bounded(after), "limit": page(limit)}
        return [BareEvent(*row) for row in await self._readers.fetch(READ_BARE, bounds)]

    async def detached_ends(self, *, after: int = 0, limit: int = 1000) -> Sequence[DetachedEnd]:
        bounds: dict[str, object] = {"after": bounded(after), "limit": page(limit)}
        return [DetachedEnd(*row) for row in await self._readers.fetch(DETACHED_ENDS, bounds)]

    async def read_from_snapshot(self, stream: str, type: str, *, limit: int = 1000) -> FromSnapshot:
        check_stream(stream)
        return await self._from_snapshots.answer((type, page(limit), stream))

    async def _read_from_snapshots(self, asked: Sequence[tuple[str, int, str]]) -> Sequence[FromSnapshot]:
        kept: list[Snapshot | None] = [None] * len(asked)
        events: list[list[RecordedEvent]] = [[] for _ in asked]
        for kind, alike in groupby(sorted((*one, nth) for nth, one in enumerate(asked)), key=lambda one: one[:2]):
            places = [(nth, stream) for _, _, stream, nth in alike]
            bounds = {"streams": [stream for _, stream in places], "type": kind[0], "limit": kind[1]}
            for number, *row in await self._readers.fetch(READ_FROM_SNAPSHOTS, bounds):
                nth, stream = places[number - 1]
                if row[0] is None:
                    kept[nth] = Snapshot(stream, row[2], kind[0], row[7])
                else:
                    events[nth].append(recorded(row))
        return [(one, sorted(some, key=VERSION)) for one, some in zip(kept, events, strict=True)]

    async def keep_snapshot(self, snapshot: Snapshot) -> None:
        check_snapshot(snapshot)
        await self._readers.fetch(KEEP_SNAPSHOT, asdict(snapshot))

    async def head(self) -> int:
        rows = await self._readers.fetch(HEAD)
        position: int = rows[0][0]
        self._watch.rise(position)
        return position

    async def wait_beyond(self, position: int, seconds: float) -> int:
        self._listener.start()
        return await self._watch.wait_beyond(position, seconds)


def recorded(row: Sequence[Anything]) -> RecordedEvent:
    position, stream, version, id, type, time, recorded_at, data, metadata = row
    known = decode_metadata(metadata)
    return RecordedEvent(position, stream, version, id, type, time, recorded_at, data, known)


def page(limit: int) -> int:
    """At most a page at a time, whatever is asked for."""
    return max(0, min(limit, PAGE))
