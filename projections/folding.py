"""Folds one view: each key as far as it goes, and what can't go on is set aside with its key."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from msgspec import Struct

from domains.errors import UnreadableEvent
from domains.kernel import Event, Row
from eventstore.records import Metadata, RecordedEvent
from projections.errors import FoldFailed, RowRefused
from projections.parking import Spot, Waiting
from projections.rows import AnyView, Transaction, ordered

Rows = dict[str, Row | None]
LONGEST_KEY = 1024


class Placed(Struct, frozen=True):
    """A domain's event with where it stands in the topic: as it was recorded, and as this code reads it, if it can."""

    partition: int
    offset: int
    recorded: RecordedEvent
    event: Event | UnreadableEvent

    @property
    def position(self) -> int:
        return self.recorded.position

    @property
    def stream(self) -> str:
        return self.recorded.stream

    @property
    def version(self) -> int:
        return self.recorded.version

    @property
    def recorded_at(self) -> datetime:
        return self.recorded.recorded_at

    @property
    def metadata(self) -> Metadata:
        return self.recorded.metadata


@dataclass(slots=True)
class Folded:
    """The events of one key, the row after each that could be folded, and why the next could not."""

    events: list[Placed] = field(default_factory=list)
    rows: list[Row | None] = field(default_factory=list)
    error: str | None = None

    def fold(self, view: AnyView, key: str, row: Row | None) -> None:
        for each in self.events:
            try:
                row = project(view, key, row, each)
            except FoldFailed as error:
                self.error = str(error)
                return
            self.rows.append(row)

    def refused(self, number: int, why: str) -> None:
        """The table can't hold the row after that event."""
        del self.rows[number:]
        self.error = why

    def waiting(self, spot: Spot) -> list[Waiting]:
        """What was not folded: the event that failed, and all behind it."""
        left = [Waiting(spot, each.recorded) for each in self.events[len(self.rows) :]]
        return [replace(left[0], error=self.error), *left[1:]] if left else []


Save = Callable[[Transaction, AnyView, Mapping[str, Folded]], Awaitable[None]]


async def fold(
    transaction: Transaction, view: AnyView, fresh: Iterable[Placed], save: Save
) -> tuple[Rows, list[Waiting]]:
    """The rows that were changed and saved, and the events that are to be parked, in order."""
    if view.shared:
        await transaction.lock(view)
    keys, waiting = await sorted_by_key(transaction, view, fresh)
    rows = await transaction.load(view, ordered(keys)) if keys else {}
    for key, folded in keys.items():
        folded.fold(view, key, rows.get(key))
    await save(transaction, view, keys)
    for key, folded in keys.items():
        if folded.error is not None:
            waiting += folded.waiting(Spot(key))
    return {key: folded.rows[-1] for key, folded in keys.items() if folded.rows}, waiting


async def sorted_by_key(
    transaction: Transaction, view: AnyView, fresh: Iterable[Placed]
) -> tuple[dict[str, Folded], list[Waiting]]:
    """The events of each key that is not parked, and those that wait because it is, or because it can't be told."""
    touched = [(placed, *touch) for placed in fresh if (touch := touched_by(view, placed)) is not None]
    if not touched:
        return {}, []
    names, streams = {key for _, key, _ in touched if key is not None}, {placed.stream for placed, _, _ in touched}
    held = await transaction.parking(view).held(names, streams)
    keys, waiting = dict[str, Folded](), list[Waiting]()
    for placed, key, error in touched:
        if (held or key is None) and (waits := one_that_waits(placed, key, error, held)) is not None:
            waiting.append(waits)
        elif key is not None:
            if (folded := keys.get(key)) is None:
                folded = keys[key] = Folded()
            folded.events.append(placed)
    return keys, waiting


def one_that_waits(placed: Placed, key: str | None, error: str | None, held: set[Spot]) -> Waiting | None:
    """An event whose key or stream is held, or whose key can't be told: then its stream is held from now on."""
    stream = Spot(placed.stream, of_stream=True)
    if stream in held:
        return Waiting(stream, placed.recorded)
    if key is None:
        held.add(stream)
        return Waiting(stream, placed.recorded, error)
    spot = Spot(key)
    return Waiting(spot, placed.recorded) if spot in held else None


async def save_all(transaction: Transaction, view: AnyView, keys: Mapping[str, Folded]) -> None:
    """Saves the last row of each key. Raises `RowRefused`."""
    if rows := {key: folded.rows[-1] for key, folded in keys.items() if folded.rows}:
        await transaction.save(view, rows)


async def save_each(transaction: Transaction, view: AnyView, keys: Mapping[str, Folded]) -> None:
    """The same; but a key whose row is refused stays where it was before the event that made it."""
    try:
        async with transaction.attempt():
            await save_all(transaction, view, keys)
    except RowRefused:
        for key, folded in keys.items():
            if folded.rows and await refusal(transaction, view, key, folded.rows[-1]) is not None:
                await save_as_far_as_it_goes(transaction, view, key, folded)


async def save_as_far_as_it_goes(transaction: Transaction, view: AnyView, key: str, folded: Folded) -> None:
    for number, row in enumerate(folded.rows):
        if (why := await refusal(transaction, view, key, row)) is not None:
            folded.refused(number, why)
            return


async def refusal(transaction: Transaction, view: AnyView, key: str, row: Row | None) -> str | None:
    """Saves a row, or says why the table can't hold it."""
    try:
        async with transaction.attempt():
            await transaction.save(view, {key: row})
    except RowRefused as error:
        return str(error)
    return None


def touched_by(view: AnyView, placed: Placed) -> tuple[str | None, str | None] | None:
    """The key of the row that an event touches, or why it can't be told. None: the view has no use for the event."""
    try:
        key = key_of(view, placed)
    except FoldFailed as error:
        return None, str(error)
    return None if key is None else (key, None)


def key_of(view: AnyView, placed: Placed) -> str | None:
    """The key of the row that an event touches. Raises `FoldFailed`."""
    if isinstance(placed.event, UnreadableEvent):
        raise FoldFailed(str(placed.event))
    try:
        key: str | None = view.key_of(placed.event)
    except Exception as error:
        raise failed(view, placed, f"{type(error).__name__}: {error}") from error
    if key is not None and not is_key(key):
        raise failed(view, placed, f"{key!r:.80} is no key")
    return key


def is_key(key: object) -> bool:
    """Whether a table can have this key."""
    if not isinstance(key, str) or "\x00" in key:
        return False
    if key.isascii():
        return len(key) <= LONGEST_KEY
    try:
        return len(key.encode()) <= LONGEST_KEY
    except UnicodeEncodeError:
        return False


def project(view: AnyView, key: str, row: Row | None, placed: Placed) -> Row | None:
    """The row after an event. Raises `FoldFailed`."""
    if isinstance(placed.event, UnreadableEvent):
        raise FoldFailed(str(placed.event))
    try:
        folded: Row | None = view.project(row, placed.event)
        if folded is None or (isinstance(folded, view.row) and getattr(folded, view.key) == key):
            return folded
    except Exception as error:
        raise failed(view, placed, f"{type(error).__name__}: {error}") from error
    raise failed(view, placed, f"it makes no {view.row.__name__} with the key {key!r}")


def failed(view: AnyView, placed: Placed, why: str) -> FoldFailed:
    return FoldFailed(f"the view {view.name} fails on event {placed.version} of stream {placed.stream!r}: {why}")
