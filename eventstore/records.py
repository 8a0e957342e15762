"""The two records at the store's border: what is handed in, and what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4

from msgspec import Struct, field


class Metadata(Struct, frozen=True, gc=False):
    """Who and what caused an event, and what it is about. Every field is optional.

    `tags` are separated by blanks, for example `course:7 student:12`; a condition may rest on them.
    """

    actor: str | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    tags: str | None = None


NOTHING = Metadata()


class NewEvent(Struct, frozen=True):
    """An event to be appended: `data` is encoded JSON, `time` is when the fact happened (aware)."""

    type: str
    data: bytes
    time: datetime
    metadata: Metadata = NOTHING
    id: UUID = field(default_factory=uuid4)


class RecordedEvent(Struct, frozen=True, gc=False):
    """An event as the store keeps it: `version` counts in the stream, `position` in the store.

    What there is one of for each event or append is a `Struct`: a frozen dataclass takes ten times as long to make.
    """

    position: int
    stream: str
    version: int
    id: UUID
    type: str
    time: datetime
    recorded_at: datetime
    data: bytes
    metadata: Metadata


class BareEvent(Struct, frozen=True, gc=False):
    """As much of a recorded event as a fold needs."""

    position: int
    stream: str
    version: int
    type: str
    time: datetime
    data: bytes


class DetachedEnd(NamedTuple):
    """The last event that a stream has in a range that was taken out of the database."""

    stream: str
    position: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a stream's events up to `version` fold to; `type` says to whom `data` means something."""

    stream: str
    version: int
    type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events of the log: all for which every condition that is given holds."""

    category: str | None = None
    types: Sequence[str] = ()
    correlation_id: str | None = None
    tags: Sequence[str] = ()

    def takes(self, event: RecordedEvent) -> bool:
        return (
            (self.category is None or event.stream.startswith(f"{self.category}-"))
            and (not self.types or event.type in self.types)
            and (self.correlation_id is None or event.metadata.correlation_id == self.correlation_id)
            and set(self.tags) <= set((event.metadata.tags or "").split(" "))
        )


EVERYTHING = Selection()


class Exactly(Struct, frozen=True):
    """The stream must be at this version."""

    version: int


class NoStream(Struct, frozen=True):
    """The stream must not exist."""


class Any(Struct, frozen=True):
    """The stream may be at any version."""


Expected = Exactly | NoStream | Any


class IdempotencyKey(Struct, frozen=True):
    """A command's key and the digest of what it asked for; the store keeps them with the answer."""

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Condition:
    """What a decision rests upon: after position `after`, no event is in the log that one of the selections takes."""

    after: int
    none_of: Sequence[Selection]


class Append(Struct, frozen=True):
    """One command's events for one stream: all are recorded, or none."""

    stream: str
    events: Sequence[NewEvent]
    expected: Expected
    idempotency: IdempotencyKey | None = None


class Appended(Struct, frozen=True):
    """The answer: where the stream now stands, and the position of its last event.

    `repeated` says that the same command had been recorded before and this is the answer it got then.
    `version` is 0 and `position` is 0 for a stream without events. `refusal` is what was kept when it was refused.
    """

    stream: str
    version: int
    position: int
    repeated: bool = False
    refusal: bytes | None = None
