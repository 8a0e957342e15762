"""Commands that are answered later: accepted and published, then read from the topic and done, each exactly once."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol
from uuid import UUID

import orjson

from domains.answers import Answer, carried_out, kept
from domains.command_records import operation_id, record, sealed, unpacked, version_of
from domains.errors import StrangeCommand
from domains.handler import FORGOTTEN, Handler, parse
from domains.handler import Request as Asked
from domains.kernel import Domain
from eventstore.errors import InvalidEvent, KeyMissing, SealBroken
from eventstore.operations import Operation, Operations
from eventstore.personal.sealing import PREFIX, DataKey, Sealed
from infra.telemetry import about
from infra.web import BROKEN, Problem

log = logging.getLogger(__name__)

STRUCTURED = b"application/cloudevents+json; charset=UTF-8"
LOOK_SECONDS = 0.05
SEALED = b'"' + PREFIX.encode()
UNKNOWN = "nobody has accepted this command"
Headers = Sequence[tuple[str, bytes]]
Opened = tuple[Asked, list[DataKey]]


class Publish(Protocol):
    """Puts a record on the commands topic; returns when it is safe there. Raises `Problem` 503."""

    async def __call__(self, key: bytes, value: bytes, headers: Headers) -> None: ...


@dataclass(frozen=True, slots=True)
class Desk:
    """Takes commands in, and does them when they come back from the topic."""

    domain: Domain
    handler: Handler
    operations: Operations
    publish: Publish

    async def accept(self, asked: Asked, owner: str) -> str:
        """The operation's id. What is no command is refused at once. Raises what a command raises."""
        _, used = await self.handler.keyed(parse(self.domain, asked))
        operation = Operation(
            operation_id(self.domain, asked),
            owner,
            fingerprint(asked, used),
            outside=outside(asked),
            keys=tuple(key.id for key in used),
        )
        value = record(self.domain, operation.id, sealed(self.domain, asked, used))
        try:
            unpacked(self.domain, value)
        except StrangeCommand as error:
            # It would be set aside when it comes back, and its caller wait for ever.
            raise InvalidEvent(f"this can't be answered later: {error}") from None
        accepted = await self.operations.accept(operation)
        if accepted.answer is None:
            key = self.domain.stream(asked.id).encode()
            headers = [("content-type", STRUCTURED), ("ce_id", operation.id.encode())]
            await self.publish(key, value, headers)
        return operation.id

    async def find(self, id: str, owner: str) -> Operation | None:
        """An operation of this owner."""
        found = await self.operations.find(id)
        return found if found is not None and found.owner == owner else None

    async def wait(self, id: str, seconds: float) -> Answer | None:
        """The answer, if it comes within so many seconds."""
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            found = await self.operations.find(id)
            if found is not None and found.answer is not None:
                return kept(found.answer)
            await asyncio.sleep(LOOK_SECONDS)
        return None

    async def do(self, value: bytes | None) -> None:
        """Does the command of a record, unless it was done.

        Raises `StrangeCommand` for a record that nobody here accepted, `Problem` 503 when it must be tried again later.
        """
        id, asked = unpacked(self.domain, value)
        operation = await self.operations.find(id)
        if operation is None:
            raise StrangeCommand(UNKNOWN)
        found = await self._opened(asked)
        if not accepted(operation, asked, found):
            raise StrangeCommand(UNKNOWN)
        if operation.answer is not None:
            return
        with about(asked.metadata.request_id, asked.metadata.traceparent):
            answer = self._forgotten(asked) if isinstance(found, UUID) else await self._answer(found[0])
        await self.operations.answer(id, answer.told())

    async def _opened(self, asked: Asked) -> Opened | UUID:
        """The command as it was asked, and the keys under which it was sealed; or a key whose subject was forgotten.

        Raises `StrangeCommand` for what does not open.
        """
        used: list[DataKey] = []
        if not asked.body.startswith(SEALED):
            return asked, used
        try:
            content: str = orjson.loads(asked.body)
            while content.startswith(PREFIX):
                found = Sealed.parsed(content)
                if (found.stream, found.version, found.field) != (self.domain.stream(asked.id), 0, asked.command):
                    raise StrangeCommand("it was sealed for another command")
                if (key := await self.handler.key(found.key)) is None:
                    return found.key
                content, used = key.open(found), [key, *used]
        except (KeyMissing, SealBroken, ValueError) as error:
            raise StrangeCommand(str(error)) from None
        return replace(asked, body=content.encode(), keys=tuple(key.id for key in used)), used

    async def _answer(self, asked: Asked) -> Answer:
        try:
            return await carried_out(self.domain, self.handler, asked)
        except Problem as problem:
            # Only what says when to come back is otherwise later; the commands behind it must not wait for the rest.
            if problem.status_code == 503 and "retry-after" in (problem.headers or {}):
                raise
            return self._answered(asked, problem)
        except Exception:
            # The commands behind it do not wait for the domain to be mended.
            log.exception("a command ended by an unforeseen error")
            return self._answered(asked, BROKEN)

    def _forgotten(self, asked: Asked) -> Answer:
        code, detail = FORGOTTEN
        return self._answered(asked, Problem(409, "refused", detail, code=code))

    def _answered(self, asked: Asked, problem: Problem) -> Answer:
        path = f"/v{asked.form}/{self.domain.name}/{asked.id}/{asked.command}"
        return Answer(problem.status_code, {}, problem.body(path))


def fingerprint(asked: Asked, keys: Sequence[DataKey] = ()) -> bytes:
    """The digest of all that was asked, and by whom: a record is believed if it has the one that was accepted.

    It is taken with the keys of those about whom something was said, so that nobody can guess what it was.
    """
    digest = sha256(attributes(asked) + b"\n" + asked.body.strip()).digest()
    for key in keys:
        digest = key.fingerprint(digest)
    return digest


def outside(asked: Asked) -> bytes:
    """The digest of all that was asked but the body, which may be sealed."""
    return sha256(attributes(asked)).digest()


def attributes(asked: Asked) -> bytes:
    said = (
        asked.idempotency_key,
        asked.id,
        asked.command,
        version_of(asked.expected),
        asked.metadata.actor,
        asked.owner,
        asked.form,
    )
    return repr(said).encode()


def accepted(operation: Operation, asked: Asked, found: Opened | UUID) -> bool:
    """Whether a record is what was accepted.

    Of one that nobody can open any more, all else must be, and the key that is gone one of those under which it was
    sealed: under somebody else's, anybody who may write to the topic could end what waits.
    """
    if isinstance(found, UUID):
        return operation.outside == outside(asked) and found in operation.keys
    return operation.fingerprint == fingerprint(*found)
