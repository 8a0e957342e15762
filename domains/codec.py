"""Between a domain's events and what the store keeps of them."""

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from domains.errors import UnreadableEvent
from domains.kernel import EVENT_TYPE, Domain, Event
from eventstore.records import Metadata, NewEvent, RecordedEvent


def encode(domain: Domain, event: Event, metadata: Metadata) -> NewEvent:
    return NewEvent(domain.type_of(event), event.model_dump_json().encode(), event.occurred_at, metadata)


def decode(domain: Domain, recorded: RecordedEvent) -> Event:
    """The domain's event, by today's upcasters. Raises `UnreadableEvent` for what this code does not know."""
    type_name, data = recorded.type, recorded.data
    if type_name not in domain.events:
        type_name, data = upcast(domain, recorded)
    try:
        return domain.events[type_name].model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        why = ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"]) if part)
        raise UnreadableEvent(recorded.stream, recorded.version, why) from None


def upcast(domain: Domain, recorded: RecordedEvent) -> tuple[str, bytes]:
    """The newest type that an event leads to, and its data in that type. Raises `UnreadableEvent`."""
    if domain.upcaster(recorded.type) is None:
        raise UnreadableEvent(recorded.stream, recorded.version, unknown(domain, recorded.type))
    type_name = recorded.type
    try:
        values = from_json(recorded.data)
        while (upcaster := domain.upcaster(type_name)) is not None:
            values, type_name = upcaster.change(values), upcaster.to
        return type_name, to_json(values)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
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
