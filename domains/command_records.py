"""Commands as records of the commands topic: structured CloudEvents 1.0, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson

from domains.errors import StrangeCommand
from domains.handler import Demand, OneOf
from domains.handler import Request as Asked
from domains.kernel import Domain
from eventstore.personal.sealing import DataKey
from eventstore.records import Any as AnyVersion
from eventstore.records import Exactly, Metadata, NoStream

METADATA = {
    "actor": "actor",
    "request_id": "requestid",
    "correlation_id": "correlationid",
    "traceparent": "traceparent",
}


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


def record(domain: Domain, id: str, asked: Asked, at: datetime | None = None) -> bytes:
    """The command as a structured CloudEvent; its body, or what that was sealed to, stands in it byte for byte."""
    metadata = {name: getattr(asked.metadata, field) for field, name in METADATA.items()}
    envelope = {
        "type": f"{domain.name}.commands.{asked.command}",
        "subject": domain.stream(asked.id),
        "time": at or datetime.now(UTC),
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
