"""Folds a batch of events into rows, and commits rows, positions and what is parked in one transaction."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from projections.errors import RowRefused
from projections.folding import Rows, Save, save_all, save_each, touched_by, touching
from projections.parking import Waiting
from projections.placed import Placed
from projections.rows import AnyView, Mark, Move, ReadDatabase

# An event, and the position that its partition had passed.
Misplaced = tuple[Placed, int]


@dataclass(slots=True)
class Applied:
    """What a batch did: the rows it changed, by view, and the keys of rows that events seen before had changed.

    `parked` are the events that it set aside, by view; those with an error have failed, the others wait behind one.
    `others` is how often other workers had been noticed by then, by partition, `alone` whether this batch noticed none.
    """

    changed: dict[str, Rows] = field(default_factory=dict)
    seen: dict[str, set[str]] = field(default_factory=dict)
    fresh: list[Placed] = field(default_factory=list)
    misplaced: list[Misplaced] = field(default_factory=list)
    parked: dict[str, list[Waiting]] = field(default_factory=dict)
    others: Mapping[int, int] = field(default_factory=dict)
    alone: bool = True


SetAside = Callable[[Sequence[Misplaced]], Awaitable[None]]


async def nothing(_: Sequence[Misplaced]) -> None:
    """For sources in which nothing can be misplaced."""


class Projector:
    """Views of a domain, folded together."""

    def __init__(self, views: Sequence[AnyView], database: ReadDatabase) -> None:
        self._views, self._database = views, database
        self._marks: Mapping[int, Mark] | None = None
        self._others = Counter[int]()

    async def apply(self, batch: Sequence[Placed], set_aside: SetAside = nothing) -> Applied:
        """Folds what was not seen before; each event changes each row once, however often it comes.

        What can't be an event where it stands is handed to `set_aside` before anything is committed. An event that a
        view can't fold, or whose row its table can't hold, parks its key, and later events of that key wait behind it;
        all others are folded. Raises `Fenced` or `ReadUnavailable`; then nothing was written.
        """
        try:
            return await self._apply(batch, save_all, set_aside)
        except RowRefused:
            return await self._apply(batch, save_each, set_aside)

    async def marks(self) -> Mapping[int, Mark]:
        """How far each partition is. Raises `ReadUnavailable`."""
        return await self._database.positions()

    async def others(self) -> Mapping[int, int]:
        """How often others have been noticed by now, by partition: positions were not where we had left them."""
        self._notice(await self._database.positions())
        return self._others.copy()

    def _notice(self, known: Mapping[int, Mark]) -> bool:
        moved = [partition for partition, mark in known.items() if (self._marks or {}).get(partition) != mark]
        self._others.update(moved)
        self._marks = known
        return not moved

    async def _apply(self, batch: Sequence[Placed], save: Save, set_aside: SetAside) -> Applied:
        folds = touching(self._views, batch)
        async with self._database.transaction() as transaction:
            known, taken = await transaction.take([fold.want() for fold in folds])
            found = {fold.view.name: each for fold, each in zip(folds, taken, strict=True)}
            alone, self._marks = self._notice(known), None
            applied = sift(self._views, batch, known)
            if applied.misplaced:
                await set_aside(applied.misplaced)
            if len(applied.fresh) < len(batch):
                folds = touching(self._views, applied.fresh)
            for fold in folds:
                await fold.fold(applied.fresh, found[fold.view.name])
            moves = dict(moved(known, applied.fresh))
            if moves:
                await save(transaction, folds, moves)
        for fold in folds:
            applied.changed[fold.view.name] = fold.rows()
            if waiting := fold.parked():
                applied.parked[fold.view.name] = waiting
        now = {**known, **{partition: move.new for partition, move in moves.items()}}
        self._marks, applied.others, applied.alone = now, self._others.copy(), alone
        return applied


def sift(views: Sequence[AnyView], batch: Sequence[Placed], known: Mapping[int, Mark]) -> Applied:
    """The events that were not seen before, in order; of repeats, the keys of the rows that they touch.

    In a partition positions rise with the offsets; so a repeat stands at an offset that was passed, and anything else
    is no event of ours.
    """
    reached: dict[int, Mark | Placed] = dict(known)
    applied = Applied()
    for placed in batch:
        before = reached[placed.partition]
        if placed.position > before.position:
            reached[placed.partition] = placed
            applied.fresh.append(placed)
            continue
        if placed.offset > before.offset:
            applied.misplaced.append((placed, before.position))
            continue
        for view in views:
            if (touched := touched_by(view, placed)) is not None and touched[0] is not None:
                applied.seen.setdefault(view.name, set()).add(touched[0])
    return applied


def moved(known: Mapping[int, Mark], fresh: Sequence[Placed]) -> Iterator[tuple[int, Move]]:
    for partition, last in lasts(fresh).items():
        old = known[partition]
        yield partition, Move(old, old._replace(position=last.position, offset=last.offset), last.recorded_at)


def lasts(fresh: Sequence[Placed]) -> dict[int, Placed]:
    return {placed.partition: placed for placed in fresh}
