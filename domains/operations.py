"""Commands that are answered later: accepted and published, then read from the topic and done, each exactly once."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID

import orjson

from domains.answers import Answer, carried_out, kept
from domains.errors import StrangeCommand
from domains.handler import FORGOTTEN, Demand, Handler, OneOf, parse
from domains.handler import Request as Asked
from domains.kernel import Domain
from eventstore.errors import InvalidEvent, KeyMissing, SealBroken
from eventstore.operations import Operation, Operations
from eventstore.personal.sealing import PREFIX, DataKey, Sealed
from eventstore.records import Any as AnyVersion
from eventstore.records import Exactly, Metadata, NoStream
from infra.telemetry import about
from infra.web import BROKEN, Problem

log = logging.getLogger(__name__)

STRUCTURED = b"application/cloudevents+json; charset=UTF-8"
LOOK_SECONDS = 0.05
SEALED = b'"' + PREFIX.encode()
UNKNOWN = "nobody has accepted this command"
METADATA = {
    "actor": "actor",
    "request_id": "requestid",
    "correlation_id": "correlationid",
    "traceparent": "traceparent",
}
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


def operation_id(domain: Domain, asked: Asked) -> str:
    """The same key is the same operation."""
    return f"{domain.name}-{sha256((asked.idempotency_key or '').encode()).hexdigest()[:32]}"


def sealed(domain: Domain, asked: Asked, keys: Sequence[DataKey]) -> Asked:
    """What goes to the topic: a command that says something about persons is sealed whole, under the key of each."""
    if not keys:
        return asked
    text = asked.body.strip().decode()
    for key in keys:
        text = key.seal(text, domain.stream(asked.id), 0, asked.command)
    return replace(asked, body=orjson.dumps(text))


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


def version_of(expected: Demand) -> int | list[int] | None:
    match expected:
        case Exactly(version):
            return version
        case NoStream():
            return 0
        case OneOf(versions):
            return sorted(versions)
        case _:
            return None


def record(domain: Domain, id: str, asked: Asked) -> bytes:
    """The command as a structured CloudEvent; its body, or what that was sealed to, stands in it byte for byte."""
    metadata = {name: getattr(asked.metadata, field) for field, name in METADATA.items()}
    envelope = {
        "type": f"{domain.name}.commands.{asked.command}",
        "subject": domain.stream(asked.id),
        "time": datetime.now(UTC),
        "specversion": "1.0",
        "id": id,
        "source": f"/{domain.name}",
        "datacontenttype": "application/json",
        "idempotencykey": asked.idempotency_key,
        "expectedversion": version_of(asked.expected),
        "owner": asked.owner,
        "form": asked.form,
        **metadata,
    }
    given = {name: value for name, value in envelope.items() if value is not None}
    return orjson.dumps(given)[:-1] + b',"data":' + asked.body.strip() + b"}"


def unpacked(domain: Domain, value: bytes | None) -> tuple[str, Asked]:
    """The operation and the command of a record. Raises `StrangeCommand`."""
    envelope = parsed(value)
    kind, subject = text(envelope, "type"), text(envelope, "subject")
    prefix = f"{domain.name}.commands."
    if not kind.startswith(prefix) or not subject.startswith(f"{domain.name}-"):
        raise StrangeCommand(f"this is no command of {domain.name}")
    _, mark, body = (value or b"").partition(b',"data":')
    metadata = {field: text(envelope, name) for field, name in METADATA.items() if name in envelope}
    id = text(envelope, "id")
    asked = Asked(
        subject.removeprefix(f"{domain.name}-"),
        kind.removeprefix(prefix),
        body[:-1] if mark else b"",
        expected_of(envelope.get("expectedversion")),
        text(envelope, "idempotencykey"),
        Metadata(**metadata, causation_id=id),
        text(envelope, "owner", least=0) if "owner" in envelope else None,
        form_of(envelope.get("form")),
    )
    return id, asked


def parsed(value: bytes | None) -> Mapping[str, Any]:
    try:
        envelope = orjson.loads(value or b"")
    except ValueError:
        raise StrangeCommand("this is not JSON") from None
    if not isinstance(envelope, dict) or envelope.get("specversion") != "1.0":
        raise StrangeCommand("this is not a CloudEvent")
    return envelope


def text(envelope: Mapping[str, Any], name: str, least: int = 1) -> str:
    value = envelope.get(name)
    if not isinstance(value, str) or not least <= len(value) <= 1024 or "\x00" in value:
        raise StrangeCommand(f"the attribute {name} is not a text")
    return value


def form_of(form: object) -> int:
    """The version of the addresses whose form the body has; records from before there were others have none."""
    if form is not None and (not isinstance(form, int) or isinstance(form, bool)):
        raise StrangeCommand("the attribute form is not a version of addresses")
    return 1 if form is None else form


def expected_of(version: object) -> Demand:
    if version is None:
        return AnyVersion()
    if isinstance(version, list):
        return OneOf(frozenset(map(whole_of, version)))
    number = whole_of(version)
    return Exactly(number) if number else NoStream()


def whole_of(version: object) -> int:
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise StrangeCommand("the attribute expectedversion is not a version")
    return version
