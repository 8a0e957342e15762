"""Folds one view: each key as far as it goes, and what can't go on is set aside with its key."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from domains.errors import UnreadableEvent
from domains.kernel import Row
from eventstore.records import RecordedEvent
from projections.errors import FoldFailed, RowRefused
from projections.parking import Spot, Waiting
from projections.placed import Placed
from projections.rows import AnyView, Transaction, Unreadable, ordered
from projections.step import key_of, row_after

Rows = dict[str, Row | None]
FOLDED_AT_ONCE = 500


@dataclass(slots=True)
class Folded:
    """The events of one key, the row after each that could be folded, and why the next could not."""

    events: list[Placed] = field(default_factory=list)
    rows: list[Row | None] = field(default_factory=list)
    error: str | None = None

    def fold(self, view: AnyView, key: str, row: Row | Unreadable | None) -> None:
        if isinstance(row, Unreadable):
            self.error = row.why
            return
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
    transaction: Transaction, view: AnyView, fresh: Sequence[Placed], save: Save
) -> tuple[Rows, list[Waiting]]:
    """The rows that were changed and saved, and the events that are to be parked, in order."""
    keys, untold = by_key(view, fresh)
    if not keys and not untold:
        return {}, []
    streams = {placed.stream for placed in chain(untold, *(folded.events for folded in keys.values()))}
    held, rows = await transaction.take(view, ordered(keys), streams)
    waiting = list[Waiting]()
    if held or untold:
        keys, waiting = without_held(view, fresh, held)
    for number, (key, folded) in enumerate(keys.items(), 1):
        folded.fold(view, key, rows.get(key))
        if number % FOLDED_AT_ONCE == 0:
            await asyncio.sleep(0)
    await save(transaction, view, keys)
    for key, folded in keys.items():
        if folded.error is not None:
            waiting += folded.waiting(Spot(key))
    return {key: folded.rows[-1] for key, folded in keys.items() if folded.rows}, waiting


def by_key(view: AnyView, fresh: Iterable[Placed]) -> tuple[dict[str, Folded], list[Placed]]:
    """The events of each key, and those whose key can't be told."""
    keys, untold = dict[str, Folded](), list[Placed]()
    for placed in fresh:
        if (touched := touched_by(view, placed)) is None:
            continue
        if (key := touched[0]) is None:
            untold.append(placed)
        elif (folded := keys.get(key)) is not None:
            folded.events.append(placed)
        else:
            keys[key] = Folded([placed])
    return keys, untold


def without_held(view: AnyView, fresh: Iterable[Placed], held: set[Spot]) -> tuple[dict[str, Folded], list[Waiting]]:
    """The events of each key that goes on, and those that wait."""
    waiting, going = list[Waiting](), list[Placed]()
    for placed in fresh:
        if (touched := touched_by(view, placed)) is None:
            continue
        if (waits := one_that_waits(placed, *touched, held)) is not None:
            waiting.append(waits)
        else:
            going.append(placed)
    return by_key(view, going)[0], waiting


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
    if isinstance(placed.event, UnreadableEvent):
        return None, str(placed.event)
    try:
        key = key_of(view, placed.event)
    except FoldFailed as error:
        return None, failed(view, placed, str(error))
    return None if key is None else (key, None)


def project(view: AnyView, key: str, row: Row | None, placed: Placed) -> Row | None:
    """The row after an event. Raises `FoldFailed`."""
    if isinstance(placed.event, UnreadableEvent):
        raise FoldFailed(str(placed.event))
    try:
        return row_after(view, key, row, placed.event)
    except FoldFailed as error:
        raise FoldFailed(failed(view, placed, str(error))) from error


def failed(view: AnyView, event: Placed | RecordedEvent, why: str) -> str:
    return f"the view {view.name} fails on event {event.version} of stream {event.stream!r}: {why}"
