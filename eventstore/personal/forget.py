"""Forgets a subject, step by step. Each step is recorded before the next begins, so that it goes on where it ended."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from eventstore.errors import SealBroken
from eventstore.personal.keys import REMEMBERED_SECONDS, Keeper, Tombstone
from eventstore.personal.sealing import PREFIX, DataKey, Sealed
from eventstore.personal.search import SHORTEST, Looked, Sought, searchable
from eventstore.records import RecordedEvent
from eventstore.store import EventStore

PAGE = 1000
MARK = PREFIX.encode()

Search = Callable[[Sought], Iterable[Looked]]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was done: the tombstones, with what was searched before each key was destroyed."""

    subject: str
    tombstones: Sequence[Tombstone]

    @property
    def searches(self) -> list[Mapping[str, Any]]:
        """Each search once; the keys that were destroyed together share one."""
        found = [tomb.searched for tomb in self.tombstones if tomb.searched is not None]
        return [one for number, one in enumerate(found) if one not in found[:number]]

    @property
    def finds(self) -> int:
        return sum(place["finds"] for one in self.searches for place in one["places"])

    @property
    def unread(self) -> int:
        return sum(place["unread"] for one in self.searches for place in one["places"])

    def text(self, origin: str, wrapped_by: UUID) -> str:
        """The report, as the text of a signed note."""
        lines = [f"{origin}/forgotten", f"subject {self.subject}"]
        for tomb in self.tombstones:
            lines.append(f"key {tomb.key} forgotten {tomb.forgotten_at.isoformat()} by {tomb.forgotten_by}: {tomb.why}")
            lines.append(f"key {tomb.key} destroyed {tomb.destroyed_at and tomb.destroyed_at.isoformat()}")
        for one in self.searches:
            lines.append(
                f"looked at {one['at']} for {one['texts']} texts; {one['short']} have less than {SHORTEST} bytes"
            )
            if one["after"]:
                lines.append(f"the texts of events up to {one['after']} were not looked for: these events are detached")
            lines += [
                f"{place['place']}: {place['units']}, {place['bytes']} bytes, {place['finds']} finds, "
                f"{place['sealed']} sealed, {place['unread']} not readable"
                for place in one["places"]
            ]
        lines += [f"other keys are wrapped by {wrapped_by} alone", f"finds {self.finds}"]
        return "".join(f"{line}\n" for line in [*lines, f"time {datetime.now(UTC).isoformat()}"])


async def forget(
    keeper: Keeper,
    store: EventStore,
    subject: str,
    *,
    by: str,
    why: str,
    search: Search,
    also: Sequence[str] = (),
    after: int = 0,
) -> Forgotten:
    """Marks the subject's keys, opens for the last time what they sealed, looks for it, and destroys them.

    Texts of events up to `after` are not opened, hence not looked for; they are forgotten like all others.
    From the mark on, everybody who asks is told that the subject was forgotten. No tombstones: nobody knew him.
    """
    await keeper.forget(subject, by, why)
    if held := await keeper.unlocked(subject):
        # Whoever was given a key before the mark has let go of it by then.
        await asyncio.sleep(REMEMBERED_SECONDS)
        texts = {*also, *[text async for text in opened(store, {key.id: key for key in held}, after)]}
        long = searchable(texts)
        places = [asdict(place) for place in search(Sought.of(long, [key.id for key in held]))]
        counts = {"texts": len(long), "short": len(texts) - len(long), "after": after}
        await keeper.destroy(subject, {"at": datetime.now(UTC).isoformat(), **counts, "places": places})
    return Forgotten(subject, await keeper.marked(subject))


async def opened(store: EventStore, keys: Mapping[UUID, DataKey], after: int = 0) -> AsyncIterator[str]:
    """Every text of the log, beyond a position, that these keys open."""
    while page := await store.read_log(after=after, limit=PAGE):
        for event in page:
            if MARK in event.data:
                for sealed in sealed_in(event):
                    if (key := keys.get(sealed.key)) is not None:
                        yield key.open(sealed)
        after = page[-1].position


def sealed_in(event: RecordedEvent) -> Iterator[Sealed]:
    """The sealed texts of an event; what only looks like one is none."""
    for text in strings(orjson.loads(event.data)):
        if text.startswith(PREFIX):
            try:
                found = Sealed.parsed(text)
            except SealBroken:
                continue
            if (found.stream, found.version) == (event.stream, event.version):
                yield found


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from strings(each)
