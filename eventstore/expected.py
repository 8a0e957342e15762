"""A batch whose commands all say where their one stream stands: they are appended together if all are right."""

from collections.abc import Sequence

from eventstore.batch import (
    Answer,
    Array,
    Blobs,
    Command,
    Int4s,
    Int8s,
    Part,
    Texts,
    Times,
    Uuids,
    encode_metadata,
    key_arguments,
)
from eventstore.records import Any, Appended, Exactly


def says_where(batch: Sequence[Command]) -> bool:
    """Whether `append_expected` can take the batch."""
    return all(
        len(command.parts) == 1
        and command.tracked is None
        and command.parts[0].events
        and command.parts[0].last is not None
        and not isinstance(command.parts[0].expected, Any)
        for command in batch
    )


def before(part: Part) -> int:
    return part.expected.version if isinstance(part.expected, Exactly) else 0


def after(part: Part) -> int:
    return before(part) + (part.last or 0)


def arguments(batch: Sequence[Command]) -> tuple[Array | None, ...]:
    """The arguments of `append_expected` for these commands."""
    parts = [command.parts[0] for command in batch]
    names = [part.stream.encode() for part in parts]
    events = [event for part in parts for event in part.events]
    return (
        Texts.of(names),
        Int8s.numbers([before(part) for part in parts]),
        Int8s.numbers([after(part) for part in parts]),
        Int4s.numbers(upto(parts)),
        Texts.of([name for name, part in zip(names, parts, strict=True) for _ in part.events]),
        Int8s.numbers([before(part) + part.first + nth for part in parts for nth in range(len(part.events))]),
        Uuids.of([event.id.bytes for event in events]),
        Texts.of([event.type.encode() for event in events]),
        Times.moments([event.time for event in events]),
        Blobs.of([event.data for event in events]),
        Blobs.of([encode_metadata(event.metadata) for event in events]),
        *key_arguments([command.idempotency for command in batch]),
    )


def upto(parts: Sequence[Part]) -> list[int]:
    """How many events there are up to the end of each part."""
    count, found = 0, []
    for part in parts:
        count += len(part.events)
        found.append(count)
    return found


def answers(batch: Sequence[Command], base: int) -> list[Answer]:
    """What each command is answered when the log stood at `base` before them."""
    parts = [command.parts[0] for command in batch]
    return [Appended(part.stream, after(part), base + count) for part, count in zip(parts, upto(parts), strict=True)]
