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
from projections.rows import AnyView, Move, Taken, Transaction, Unreadable, Want, ordered
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


class Fold:
    """What a batch does to one view: the events of each key and the rows after them, and what is to be parked."""

    def __init__(self, view: AnyView, events: Sequence[Placed]) -> None:
        self.view, self.waiting = view, list[Waiting]()
        self.keys, self._untold = by_key(view, events)

    def __bool__(self) -> bool:
        return bool(self.keys or self._untold)

    def want(self) -> Want:
        touching = chain(self._untold, *(folded.events for folded in self.keys.values()))
        return Want(self.view, ordered(self.keys), {placed.stream for placed in touching})

    async def fold(self, events: Sequence[Placed], taken: Taken) -> None:
        """`events` are those from which this was made, or fewer, for which `taken` is enough."""
        if taken.parked or self._untold:
            self.keys, self.waiting = without_held(self.view, events, taken.parked)
        for number, (key, folded) in enumerate(self.keys.items(), 1):
            folded.fold(self.view, key, taken.rows.get(key))
            if number % FOLDED_AT_ONCE == 0:
                await asyncio.sleep(0)

    def rows(self) -> Rows:
        """The last row of each key."""
        return {key: folded.rows[-1] for key, folded in self.keys.items() if folded.rows}

    def parked(self) -> list[Waiting]:
        """The events that are to be parked, in order."""
        failed = (folded.waiting(Spot(key)) for key, folded in self.keys.items() if folded.error is not None)
        return [*self.waiting, *chain.from_iterable(failed)]


def touching(views: Iterable[AnyView], events: Sequence[Placed]) -> list[Fold]:
    """The folds of those views that have a use for one of these events."""
    return [fold for fold in (Fold(view, events) for view in views) if fold]


Moves = Mapping[int, Move]
Save = Callable[[Transaction, Sequence[Fold], Moves], Awaitable[None]]


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


async def save_all(transaction: Transaction, folds: Sequence[Fold], moves: Moves) -> None:
    """Writes all that a batch does. Raises `RowRefused`."""
    async with transaction.together():
        for fold in folds:
            await save_rows(transaction, fold.view, fold.keys)
            await park(transaction, fold)
        await transaction.advance(moves)


async def save_each(transaction: Transaction, folds: Sequence[Fold], moves: Moves) -> None:
    """The same; but a key whose row is refused stays where it was before the event that made it."""
    for fold in folds:
        await save_each_row(transaction, fold.view, fold.keys)
        await park(transaction, fold)
    await transaction.advance(moves)


async def park(transaction: Transaction, fold: Fold) -> None:
    if waiting := fold.parked():
        await transaction.parking(fold.view).park(waiting)


async def save_rows(transaction: Transaction, view: AnyView, keys: Mapping[str, Folded]) -> None:
    """Saves the last row of each key. Raises `RowRefused`."""
    if rows := {key: folded.rows[-1] for key, folded in keys.items() if folded.rows}:
        await transaction.save(view, rows)


async def save_each_row(transaction: Transaction, view: AnyView, keys: Mapping[str, Folded]) -> None:
    """Saves rows, or of a key whose row is refused the last one before that."""
    try:
        async with transaction.attempt():
            await save_rows(transaction, view, keys)
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
