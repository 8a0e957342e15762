"""Between a domain's events and what the store keeps of them."""

from collections.abc import Iterable
from typing import Protocol

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from domains.errors import UnreadableEvent
from domains.kernel import EVENT_TYPE, Domain, Event
from domains.personal import personal_fields
from eventstore.errors import SealBroken
from eventstore.personal.sealing import Sealed
from eventstore.records import Metadata, NewEvent


def encode(domain: Domain, event: Event, stream: str, version: int, metadata: Metadata) -> NewEvent:
    """The event as it will be recorded there: what it says about persons is sealed for that place."""
    if names := personal_fields(type(event)):
        given = {name: value for name in names if (value := getattr(event, name)) is not None}
        sealed = {name: value.sealed_for(stream, version, name) for name, value in given.items()}
        event = event.model_copy(update=sealed) if sealed else event
    return NewEvent(domain.type_of(event), event.model_dump_json().encode(), event.occurred_at, metadata)


class Told(Protocol):
    """What is needed of a recorded event to read it."""

    @property
    def stream(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def type(self) -> str: ...

    @property
    def data(self) -> bytes: ...


def decode(domain: Domain, recorded: Told) -> Event:
    """The domain's event, by today's upcasters. Raises `UnreadableEvent` for what this code does not know."""
    type_name, data = recorded.type, recorded.data
    if type_name not in domain.events:
        type_name, data = upcast(domain, recorded)
    model = domain.events[type_name]
    try:
        event: Event = model.__pydantic_validator__.validate_json(data)  # a hot path, and this is its shortest way
        if names := personal_fields(model):
            check_places(recorded, event, names)
        return event
    except SealBroken as error:
        raise UnreadableEvent(recorded.stream, recorded.version, str(error)) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        why = ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"]) if part)
        raise UnreadableEvent(recorded.stream, recorded.version, why) from None
    except Exception as error:
        # A validator may raise anything; whoever reads on must be told which event it was.
        raise UnreadableEvent(recorded.stream, recorded.version, f"{type(error).__name__}: {error}") from None


def check_places(recorded: Told, event: Event, names: Iterable[str]) -> None:
    """A text that was sealed for another event is not this one's. Raises `SealBroken`."""
    for name in names:
        if (value := getattr(event, name)) is not None:
            found = Sealed.parsed(value.text)
            if (found.stream, found.version) != (recorded.stream, recorded.version):
                raise SealBroken(f"its {name} was sealed for event {found.version} of {found.stream!r}")


def upcast(domain: Domain, recorded: Told) -> tuple[str, bytes]:
    """The newest type that an event leads to, and its data in that type. Raises `UnreadableEvent`."""
    if domain.upcaster(recorded.type) is None:
        raise UnreadableEvent(recorded.stream, recorded.version, unknown(domain, recorded.type))
    type_name = recorded.type
    try:
        values = from_json(recorded.data)
        while (upcaster := domain.upcaster(type_name)) is not None:
            values, type_name = upcaster.change(values), upcaster.to
        return type_name, to_json(values)
    except Exception as error:
        why = f"the upcaster of {type_name} failed: {type(error).__name__}: {error}"
        raise UnreadableEvent(recorded.stream, recorded.version, why) from None


def unknown(domain: Domain, type_name: str) -> str:
    """Why a type can't be read: a newer version of a known event is told apart from a stranger."""
    given = EVENT_TYPE.fullmatch(type_name)
    known = [match for name in domain.events if (match := EVENT_TYPE.fullmatch(name))]
    if given is not None:
        versions = [int(match["version"]) for match in known if match["event"] == given["event"]]
        if given["domain"] == domain.name and versions and int(given["version"]) > max(versions):
            return f"its type {type_name!r} is newer than this code, which knows version {max(versions)}"
    return f"its type {type_name!r} is unknown here"
