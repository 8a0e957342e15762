"""Folds a batch of events into rows, and commits rows, positions and what is parked in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from projections.errors import RowRefused
from projections.folding import Rows, Save, fold, save_all, save_each, touched_by
from projections.parking import Waiting
from projections.placed import Placed
from projections.rows import AnyView, Mark, ReadDatabase


@dataclass(slots=True)
class Applied:
    """What a batch did: the rows it changed, by view, and the keys of rows that events seen before had changed.

    `parked` are the events that it set aside, by view; those with an error have failed, the others wait behind one.
    """

    changed: dict[str, Rows] = field(default_factory=dict)
    seen: dict[str, set[str]] = field(default_factory=dict)
    fresh: list[Placed] = field(default_factory=list)
    parked: dict[str, list[Waiting]] = field(default_factory=dict)


class Projector:
    """Views of a domain, folded together."""

    def __init__(self, views: Sequence[AnyView], database: ReadDatabase) -> None:
        self._views, self._database = views, database

    async def apply(self, batch: Sequence[Placed]) -> Applied:
        """Folds what was not seen before; each event changes each row once, however often it comes.

        An event that a view can't fold, or whose row its table can't hold, parks its key, and later events of that
        key wait behind it; all others are folded. Raises `Fenced` or `ReadUnavailable`; then nothing was written.
        """
        try:
            return await self._apply(batch, save_all)
        except RowRefused:
            return await self._apply(batch, save_each)

    async def marks(self) -> Mapping[int, Mark]:
        """How far each partition is. Raises `ReadUnavailable`."""
        async with self._database.transaction() as transaction:
            return await transaction.positions()

    async def _apply(self, batch: Sequence[Placed], save: Save) -> Applied:
        async with self._database.transaction() as transaction:
            known = await transaction.positions()
            applied = sift(self._views, batch, known)
            for view in self._views:
                rows, waiting = await fold(transaction, view, applied.fresh, save)
                applied.changed[view.name] = rows
                if waiting:
                    applied.parked[view.name] = waiting
                    await transaction.parking(view).park(waiting)
            for partition, last in lasts(applied.fresh).items():
                mark = Mark(last.position, last.offset)
                await transaction.advance(partition, known[partition], mark, last.recorded_at)
        return applied


def sift(views: Sequence[AnyView], batch: Sequence[Placed], known: Mapping[int, Mark]) -> Applied:
    """The events that were not seen before, in order; of the others, the keys of the rows that they touch."""
    reached = {partition: mark.position for partition, mark in known.items()}
    applied = Applied()
    for placed in batch:
        if (position := placed.position) > reached[placed.partition]:
            reached[placed.partition] = position
            applied.fresh.append(placed)
            continue
        for view in views:
            if (touched := touched_by(view, placed)) is not None and touched[0] is not None:
                applied.seen.setdefault(view.name, set()).add(touched[0])
    return applied


def lasts(fresh: Sequence[Placed]) -> dict[int, Placed]:
    return {placed.partition: placed for placed in fresh}
