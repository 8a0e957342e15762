"""Folds a batch of events into rows, and commits rows and positions in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from domains.kernel import Domain, Event, Row
from eventstore.records import Metadata
from projections.errors import FoldFailed
from projections.rows import AnyView, Mark, ReadDatabase, Transaction, ordered

Rows = dict[str, Row | None]


@dataclass(frozen=True, slots=True)
class Placed:
    """A domain's event with where it stands: partition and offset in the topic, position in the store."""

    partition: int
    offset: int
    position: int
    stream: str
    version: int
    recorded_at: datetime
    event: Event
    metadata: Metadata = field(default_factory=Metadata)


@dataclass(slots=True)
class Applied:
    """What a batch did: the rows it changed, by view, and the keys of rows that events seen before had changed."""

    changed: dict[str, Rows] = field(default_factory=dict)
    seen: dict[str, set[str]] = field(default_factory=dict)
    fresh: list[Placed] = field(default_factory=list)


class Projector:
    """All views of a domain, folded together."""

    def __init__(self, domain: Domain, database: ReadDatabase) -> None:
        self._domain, self._database = domain, database

    async def apply(self, batch: Sequence[Placed]) -> Applied:
        """Folds what was not seen before; each event changes each row once, however often it comes.

        Raises `Fenced`, `FoldFailed` or `ReadUnavailable`; then nothing was written.
        """
        async with self._database.transaction() as transaction:
            known = await transaction.positions()
            applied = sift(self._domain, batch, known)
            for view in self._domain.views:
                applied.changed[view.name] = await self._fold(transaction, view, applied.fresh)
            for partition, last in lasts(applied.fresh).items():
                mark = Mark(last.position, last.offset)
                await transaction.advance(partition, known[partition], mark, last.recorded_at)
        return applied

    async def marks(self) -> Mapping[int, Mark]:
        """How far each partition is. Raises `ReadUnavailable`."""
        async with self._database.transaction() as transaction:
            return await transaction.positions()

    async def _fold(self, transaction: Transaction, view: AnyView, fresh: Sequence[Placed]) -> Rows:
        touched = [(key, placed) for placed in fresh if (key := view.key_of(placed.event)) is not None]
        if not touched:
            return {}
        if view.shared:
            await transaction.lock(view)
        held = await transaction.load(view, ordered(key for key, _ in touched))
        rows: Rows = {}
        for key, placed in touched:
            rows[key] = project(view, rows.get(key, held.get(key)), placed)
        await transaction.save(view, rows)
        return rows


def project(view: AnyView, row: Row | None, placed: Placed) -> Row | None:
    try:
        folded: Row | None = view.project(row, placed.event)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise FoldFailed(view.name, placed.stream, placed.version, why, placed.metadata) from error
    return folded


def sift(domain: Domain, batch: Sequence[Placed], known: Mapping[int, Mark]) -> Applied:
    """The events that were not seen before, in order; of the others, the keys of the rows that they touch."""
    reached = {partition: mark.position for partition, mark in known.items()}
    applied = Applied()
    for placed in batch:
        if placed.position > reached[placed.partition]:
            reached[placed.partition] = placed.position
            applied.fresh.append(placed)
            continue
        for view in domain.views:
            if (key := view.key_of(placed.event)) is not None:
                applied.seen.setdefault(view.name, set()).add(key)
    return applied


def lasts(fresh: Sequence[Placed]) -> dict[int, Placed]:
    return {placed.partition: placed for placed in fresh}
