"""One connection that appends. What it can't know it says so: the committer finds out."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any as Anything
from typing import Protocol, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import (
    DataError,
    DeadlockDetected,
    IntegrityError,
    ProgramLimitExceeded,
    SerializationFailure,
    UniqueViolation,
)

from eventstore import expected, sql
from eventstore.batch import Answer, Array, Command, answers, arguments, register
from eventstore.errors import ConditionFailed, EventStoreError, IdempotencyConflict, InvalidEvent, StoreUnavailable
from eventstore.link import connect, hung_up, patience, sentence, unanswered
from eventstore.records import Appended, Condition, IdempotencyKey
from eventstore.selecting import selected

APPEND_BATCH = sql.statement("append_batch")
APPEND_EXPECTED = sql.statement("append_expected")
ANSWERED = sql.statement("answered")
RECORDED = sql.statement("recorded")
TRACKED = sql.statement("tracked")
LOCK_HEAD = sql.statement("lock_head")
FENCE = sql.statement("fence")
WHOAMI = sql.statement("whoami")
FENCE_MILLISECONDS = 5000
ELSEWHERE = {"HR001", UniqueViolation.sqlstate}
REFUSED = b"refused "
CAREFUL_BATCHES = 16  # after one refusal others are likely, and each costs its batch twice


class ConnectionLost(Exception):
    """The connection broke; whether the batch was committed is not known."""


class NotSent(ConnectionLost):
    """The connection had broken before the batch was sent: nothing of it was written."""


class RolledBack(Exception):
    """The server refused the batch: nothing of it was written. `error` is what a single command is told."""

    def __init__(self, error: EventStoreError, *, transient: bool = False) -> None:
        super().__init__(str(error))
        self.error, self.transient = error, transient


class SomethingElsewhere(RolledBack):
    """A stream or a key of the batch is not as it was expected; which one is not known."""


@dataclass(frozen=True, slots=True)
class Backend:
    """The server's process behind a connection; process numbers come round again, so with its start."""

    pid: int
    started: datetime


class Session(Protocol):
    """A connection to the log, used by one committer."""

    backend: Backend

    async def append(self, batch: Sequence[Command]) -> Sequence[Answer]:
        """The answer to each command, committed and fsynced. Raises `RolledBack`, `NotSent` or `ConnectionLost`."""

    async def outcome(self, command: Command) -> Answer | None:
        """What became of a command that a lost session sent; None: it was not recorded. Raises `ConnectionLost`."""

    async def fence(self, lost: Backend) -> bool:
        """Make sure that a lost session's backend can no longer commit anything. Raises `ConnectionLost`."""

    async def close(self) -> None: ...


class PostgresSession:
    """A session over one connection."""

    def __init__(self, connection: AsyncConnection[Anything], backend: Backend) -> None:
        self.backend, self._connection = backend, connection
        self._cursor = connection.cursor(binary=True)
        self._careful = 0

    @classmethod
    async def connect(cls, conninfo: str) -> Self:
        """Raises `StoreUnavailable`."""
        connection = await connect(conninfo)
        try:
            register(connection)
            [[pid, started]] = await (await connection.execute(WHOAMI)).fetchall()
            return cls(connection, Backend(pid, started))
        except psycopg.Error as error:
            await connection.close()
            raise StoreUnavailable(sentence(error)) from error

    async def append(self, batch: Sequence[Command]) -> Sequence[Answer]:
        if hung_up(self._connection):
            raise NotSent("the server closed the connection")
        with patience(self._connection):
            try:
                if (condition := batch[0].condition) is not None:
                    return await self._append_if(condition, batch)
                if self._careful:
                    self._careful -= 1
                elif expected.says_where(batch):
                    with suppress(SomethingElsewhere):
                        return await self._append_expected(batch)
                    self._careful = CAREFUL_BATCHES
                await self._cursor.execute(APPEND_BATCH, encoded(arguments, batch), prepare=True)
                return answers(batch, await self._cursor.fetchall())
            except psycopg.Error as error:
                raise meaning(error, self._connection) from error

    async def _append_expected(self, batch: Sequence[Command]) -> list[Answer]:
        """All of them, if all say rightly where their stream stands, which saves a look at each."""
        bound = encoded(expected.arguments, batch)
        try:
            await self._cursor.execute(APPEND_EXPECTED, bound, prepare=True)
        except psycopg.Error as error:
            if error.sqlstate in ELSEWHERE:
                raise SomethingElsewhere(InvalidEvent(sentence(error))) from error
            raise
        [[base]] = await self._cursor.fetchall()
        return expected.answers(batch, base)

    async def _append_if(self, condition: Condition, batch: Sequence[Command]) -> list[Answer]:
        """Under the lock of the head, which the append takes too. A command that was answered before is again."""
        bound = encoded(arguments, batch)
        async with self._connection.transaction():
            await self._cursor.execute(LOCK_HEAD)
            await self._cursor.execute(ANSWERED, {"key": batch[0].idempotency and batch[0].idempotency.key})
            repeated = await self._cursor.fetchone() is not None
            if not repeated and (found := await self._first_after(condition)) is not None:
                return [ConditionFailed(found)]
            await self._cursor.execute(APPEND_BATCH, bound, prepare=True)
            return answers(batch, await self._cursor.fetchall())

    async def _first_after(self, condition: Condition) -> int | None:
        """The position of an event that must not be there."""
        for only in condition.none_of:
            query, bounds = selected(only, after=condition.after, limit=1)
            await self._cursor.execute(query, bounds, prepare=False)
            if (row := await self._cursor.fetchone()) is not None:
                return int(row[0])
        return None

    async def outcome(self, command: Command) -> Answer | None:
        if command.idempotency is not None:
            return await self._outcome_by_key(command.idempotency)
        events = [(part.stream, part.events[-1].id) for part in command.parts if part.events]
        if events:
            first, last = command.parts[0].stream, await self._one(RECORDED, stream=events[-1][0], id=events[-1][1])
            row = await self._one(RECORDED, stream=events[0][0], id=events[0][1])
            return None if last is None or row is None else Appended(first, row[0], last[1])
        if command.tracked is not None:
            row = await self._one(TRACKED, application=command.tracked.application)
            return Appended("", 0, 0) if row is not None and row[0] == command.tracked.position else None
        return None

    async def _outcome_by_key(self, key: IdempotencyKey) -> Answer | None:
        row = await self._one(ANSWERED, key=key.key)
        return None if row is None else answered(key, row)

    async def fence(self, lost: Backend) -> bool:
        row = await self._one(FENCE, pid=lost.pid, started=lost.started, milliseconds=FENCE_MILLISECONDS)
        return row is None or bool(row[0])

    async def _one(self, query: Anything, **parameters: object) -> tuple[Anything, ...] | None:
        with patience(self._connection):
            try:
                await self._cursor.execute(query, parameters)
                row: tuple[Anything, ...] | None = await self._cursor.fetchone()
                return row
            except psycopg.Error as error:
                raise ConnectionLost(sentence(error)) from error

    async def close(self) -> None:
        await self._connection.close()


def answered(key: IdempotencyKey, row: Sequence[Anything], *, repeated: bool = False) -> Answer:
    """What a row of the keys answers to who asks this."""
    fingerprint, stream, version, position, refusal = row
    if fingerprint != (key.fingerprint if refusal is None else refused(key)):
        return IdempotencyConflict(key.key)
    return Appended(stream, version, position, repeated or refusal is not None, refusal)


def refused(key: IdempotencyKey) -> bytes:
    """What stands in the place of its fingerprint when it was refused."""
    return REFUSED + key.fingerprint


def encoded(
    encode: Callable[[Sequence[Command]], Sequence[Array | None]], batch: Sequence[Command]
) -> Sequence[object]:
    """What PostgreSQL could not even be sent is refused before anything was sent."""
    try:
        return encode(batch)
    except Exception as error:
        raise RolledBack(InvalidEvent(f"can't be encoded: {error}")) from error


def meaning(error: psycopg.Error, connection: AsyncConnection[Anything]) -> ConnectionLost | RolledBack:
    """What an error says of the batch. A backend that ends may have committed before: that is a lost connection."""
    if connection.closed or error.diag.severity_nonlocalized in {"FATAL", "PANIC"}:
        return ConnectionLost(sentence(error))
    match error:
        case SerializationFailure() | DeadlockDetected():
            return RolledBack(StoreUnavailable(sentence(error)), transient=True)
        case DataError() | IntegrityError() | ProgramLimitExceeded():
            return RolledBack(InvalidEvent(sentence(error)))
    return RolledBack(unanswered(error))
