"""What the lanes hand on: records as they came, and the events that they are."""

from datetime import datetime

from msgspec import Struct

from domains.errors import UnreadableEvent
from domains.kernel import Event
from eventstore.cloudevents import decode
from eventstore.records import Metadata, RecordedEvent

Headers = list[tuple[str, bytes]]


class Arrived(Struct, frozen=True, gc=False):
    """A record as it came, and where from."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Placed(Struct, frozen=True):
    """A domain's event with where it stands in the topic: as it came, and as this code reads it, if it can.

    Of an event that is folded only its position and stream are needed; the rest is read again when asked for, as it
    takes as much memory as all else, and the time to fill it.
    """

    partition: int
    offset: int
    position: int
    stream: str
    came: Arrived | RecordedEvent
    event: Event | UnreadableEvent

    @classmethod
    def of(cls, partition: int, offset: int, recorded: RecordedEvent, event: Event | UnreadableEvent) -> "Placed":
        return cls(partition, offset, recorded.position, recorded.stream, recorded, event)

    @property
    def recorded(self) -> RecordedEvent:
        came = self.came
        return came if isinstance(came, RecordedEvent) else decode(came.key, came.value, came.headers)

    @property
    def version(self) -> int:
        return self.recorded.version

    @property
    def recorded_at(self) -> datetime:
        return self.recorded.recorded_at

    @property
    def metadata(self) -> Metadata:
        return self.recorded.metadata
