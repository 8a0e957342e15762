"""Why a row is as it is: which event set each of its columns last."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domains.causation import command_of
from domains.kernel import Domain, Row
from eventstore.records import Metadata, RecordedEvent
from eventstore.store import EventStore
from projections.parking import EventPlace
from projections.refolding.effects import guarded
from projections.refolding.facts import facts_of
from projections.refolding.refold import failed
from projections.rows import AnyView


@dataclass(frozen=True, slots=True)
class Cause:
    """The event that set a column last: `before` and `after` are the column's values, as JSON has them.

    `command` is the one that the event came of; None: that was not recorded with it.
    """

    column: str
    before: Any
    after: Any
    position: int
    stream: str
    version: int
    type: str
    id: str
    time: datetime
    recorded_at: datetime
    command: str | None
    metadata: Metadata


async def why(
    domain: Domain, view: AnyView, store: EventStore, key: str, skipped: Collection[EventPlace] = frozenset()
) -> Sequence[Cause]:
    """The cause of each column that an event has set, in the order of the columns; none, if there is no row.

    The row is folded anew from the store, without what was `skipped`. Raises `StoreUnavailable`, `EventsDetached`,
    `UnreadableEvent` and `RebuildFailed`.
    """
    view = guarded(view, domain)
    row: Row | None = None
    causes: dict[str, Cause] = {}
    async for event, fact in facts_of(domain, view, store, key, skipped=skipped):
        try:
            before, row = row, view.project(row, fact)
        except Exception as error:
            raise failed(view, event, error) from error
        if row is None:
            causes.clear()
            continue
        causes |= {cause.column: cause for cause in changes(domain, before, row, event)}
    return [causes[column] for column in view.row.model_fields if column in causes]


def changes(domain: Domain, before: Row | None, after: Row, event: RecordedEvent) -> Sequence[Cause]:
    """What an event has set: the columns that changed, or at first all of them."""
    old = {} if before is None else before.model_dump(mode="json")
    return [
        Cause(
            column=column,
            before=old.get(column),
            after=value,
            position=event.position,
            stream=event.stream,
            version=event.version,
            type=event.type,
            id=str(event.id),
            time=event.time,
            recorded_at=event.recorded_at,
            command=command_of(domain, event.metadata),
            metadata=event.metadata,
        )
        for column, value in after.model_dump(mode="json").items()
        if before is None or old[column] != value
    ]
