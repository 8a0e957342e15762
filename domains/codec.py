"""Between a domain's events and what the store keeps of them."""

from pydantic import ValidationError

from domains.errors import UnreadableEvent
from domains.kernel import Domain, Event
from eventstore.records import Metadata, NewEvent, RecordedEvent


def encode(domain: Domain, event: Event, metadata: Metadata) -> NewEvent:
    return NewEvent(domain.type_of(event), event.model_dump_json().encode(), event.occurred_at, metadata)


def decode(domain: Domain, recorded: RecordedEvent) -> Event:
    """The domain's event. Raises `UnreadableEvent` for a type or data that this code does not know."""
    model = domain.events.get(recorded.type)
    if model is None:
        raise UnreadableEvent(recorded.stream, recorded.version, f"its type {recorded.type!r} is unknown here")
    try:
        return model.model_validate_json(recorded.data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise UnreadableEvent(recorded.stream, recorded.version, f"{field}: {first['msg']}") from None
