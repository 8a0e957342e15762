"""A stream replayed: its events up to some point, and on as they come; the state that they make, and its changes."""

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from domains.aggregates import PAGE, Folded
from domains.codec import decode
from domains.history import differing
from domains.kernel import EVENT_TYPE, Domain
from domains.opening import plain
from eventstore.personal.keys import Keys
from eventstore.records import RecordedEvent
from eventstore.store import EventStore

WAIT_SECONDS = 10.0
VERSION = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class End:
    """Where a replay ends: with a version, with the first event of a type, or before the first event after a time.

    A `type` is one as it was recorded, or the bare name of an event in any version.
    """

    version: int | None = None
    type: str | None = None
    time: datetime | None = None

    @classmethod
    def of(cls, domain: Domain, text: str) -> "End":
        """The end that a person wrote. Raises `ValueError`."""
        if VERSION.fullmatch(text):
            return cls(version=int(text))
        if text in {name for type in known_types(domain) for name in (type, bare(type))}:
            return cls(type=text)
        try:
            return cls(time=in_utc(datetime.fromisoformat(text)))
        except ValueError:
            types = ", ".join(sorted({*map(bare, known_types(domain))}))
            raise ValueError(f"{text!r} is no version, no time, and no event of {domain.name}: {types}") from None

    def before(self, event: RecordedEvent) -> bool:
        """Whether the replay has ended before this event."""
        later = self.time is not None and event.time > self.time
        return later or (self.version is not None and event.version > self.version)

    def behind(self, event: RecordedEvent) -> bool:
        """Whether it ends with this event."""
        return event.version == self.version or (self.type is not None and self.type in (event.type, bare(event.type)))


@dataclass(frozen=True, slots=True)
class Change:
    """A field of the state, in its innermost place, that was something else."""

    field: str
    was: Any
    became: Any


def known_types(domain: Domain) -> Iterable[str]:
    return (*domain.events, *(upcaster.type for upcaster in domain.upcasters))


def bare(type: str) -> str:
    match = EVENT_TYPE.fullmatch(type)
    return match["event"] if match else type


def in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=moment.tzinfo or UTC)


async def replayed(
    store: EventStore, stream: str, ends: Sequence[End] = (), *, follow: bool = False
) -> AsyncIterator[Sequence[RecordedEvent]]:
    """Pages of a stream's events up to the first of these ends; while it follows, new ones are waited for."""
    version = 0
    while True:
        head = await store.head()
        while page := await store.read_stream(stream, after=version, limit=PAGE):
            taken = list(up_to(page, ends))
            if taken:
                yield taken
            version = page[-1].version
            if len(taken) < len(page) or any(end.behind(taken[-1]) for end in ends):
                return
        if not follow:
            return
        await store.wait_beyond(head, WAIT_SECONDS)


def up_to(page: Iterable[RecordedEvent], ends: Sequence[End]) -> Iterable[RecordedEvent]:
    for event in page:
        if any(end.before(event) for end in ends):
            return
        yield event
        if any(end.behind(event) for end in ends):
            return


def fold(domain: Domain, folded: Folded, page: Iterable[RecordedEvent]) -> Folded:
    """The state after these events. Raises `UnreadableEvent`."""
    for event in page:
        folded = Folded(domain.decider.evolve(folded.state, decode(domain, event)), event.version, event.position)
    return folded


async def changed(  # noqa: PLR0917
    domain: Domain, store: EventStore, keys: Keys | None, stream: str, since: int, ends: Sequence[End] = ()
) -> tuple[int, list[RecordedEvent], list[Change]]:
    """The version at which a replay ends, its events after the version `since`, and what these have changed."""
    before = after = Folded(domain.decider.initial)
    later: list[RecordedEvent] = []
    async for page in replayed(store, stream, ends):
        before = fold(domain, before, (event for event in page if event.version <= since))
        after = fold(domain, after, page)
        later += [event for event in page if event.version > since]
    was, became = [await values_of(state, keys) for state in (before.state, after.state)]
    found = [Change(place.removeprefix("."), *values) for place, *values in differing(was, became, "")]
    return after.version, later, found


async def values_of(state: Any, keys: Keys | None) -> Mapping[str, Any]:
    """A state as JSON has it; none at all before the first event, if the decider begins with nothing."""
    return (await plain([state], keys))[0] if isinstance(state, BaseModel) else {}
