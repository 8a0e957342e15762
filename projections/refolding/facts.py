"""The events that made one row."""

from collections.abc import AsyncIterator, Collection
from datetime import datetime

from domains.codec import decode
from domains.kernel import Domain, Event
from eventstore.errors import InvalidEvent
from eventstore.records import RecordedEvent
from eventstore.store import EventStore
from projections.errors import FoldFailed
from projections.parking import EventPlace
from projections.refolding.refold import failed
from projections.rows import AnyView
from projections.step import key_of

PAGE = 1000


async def facts_of(  # noqa: PLR0917
    domain: Domain,
    view: AnyView,
    store: EventStore,
    key: str,
    until: datetime | None = None,
    skipped: Collection[EventPlace] = frozenset(),
) -> AsyncIterator[tuple[RecordedEvent, Event]]:
    """The events that made a row, in their order, without those that were `skipped`.

    Raises `StoreUnavailable`, `EventsDetached`, `UnreadableEvent` and `RebuildFailed`.
    """
    after = 0
    stream = domain.stream(key) if of_one_stream(domain, view) else None
    while True:
        if stream is None:
            page = await store.read_log(after=after, limit=PAGE)
        else:
            try:
                page = await store.read_stream(stream, after=after, recorded_until=until, limit=PAGE)
            except InvalidEvent:
                return  # nothing can have been recorded under such a name
        for event in page:
            if until is not None and event.recorded_at > until:
                return
            if skipped and (event.position, event.stream) in skipped:
                continue
            fact = decode(domain, event)
            try:
                found = key_of(view, fact)
            except FoldFailed as error:
                raise failed(view, event, error) from error
            if found == key:
                yield event, fact
        if not page:
            return
        after = page[-1].position if stream is None else page[-1].version


def of_one_stream(domain: Domain, view: AnyView) -> bool:
    """Whether a row is made of the stream that its key names, and of nothing else."""
    return not view.shared and view.key == domain.identity
