"""What a rebuild would do and how long it would take, measured on samples of the log. Changes nothing."""

from dataclasses import dataclass
from time import perf_counter, time

from domains.kernel import Row
from eventstore.store import EventStore
from projections.refolding.beside import Standing
from projections.refolding.rebuild import weight, work
from projections.refolding.refold import fold
from projections.rows import AnyView

SAMPLES, SAMPLE = 5, 2000
# To catch up with an event, by the projector and with a transaction, takes about as long as to fold so many.
FOLLOWED = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """`events` and `rows` are there now; `suppressed` names the effects that folding them again will not have.

    `events_per_second` are folded; `seconds` is how long all will take: to fold, copy, index, compare, and to catch up
    with `arriving` events a second, as they came last. None: they come faster than that.
    """

    view: str
    events: int
    rows: int
    passes: int
    events_per_second: float
    arriving: float
    seconds: float | None
    suppressed: list[str]


async def estimate(standing: Standing, view: AnyView, store: EventStore, memory: int) -> Estimate:
    """Raises `RebuildFailed`, `UnreadableEvent` and `StoreUnavailable`."""
    end = max((await standing.positions()).values(), default=0)
    rows, arriving = await standing.rows(view), await arrivals(store, end)
    held, read, began = dict[str, Row](), 0, perf_counter()
    for after in sorted({end * number // SAMPLES for number in range(SAMPLES)}):
        page = await store.read_bare(after=after, limit=min(SAMPLE, end))
        fold(standing.domain, view, page, held)
        read += len(page)
    rate = read / (perf_counter() - began)
    # A view that is not there yet has about as many rows for its events as the samples have.
    coming = max(rows or round(end * len(held) / max(1, read)), len(held))
    each = sum(map(weight, held.values())) / max(1, len(held))
    passes = max(1, -(-round(coming * each) // memory))
    topic = standing.domain.view_topic(view)
    return Estimate(
        f"{standing.domain.name}/{view.name}",
        end,
        rows,
        passes,
        round(rate),
        round(arriving, 1),
        lasts(work(passes * end, coming), rate, arriving),
        [f"publishing to {topic}: rows that differ afterwards are published once, by the worker"],
    )


async def arrivals(store: EventStore, end: int) -> float:
    """How many events a second were recorded since the first of the last ones."""
    last = await store.read_log(after=max(0, end - SAMPLE), limit=SAMPLE)
    return len(last) / max(1.0, time() - last[0].recorded_at.timestamp()) if last else 0.0


def lasts(events: int, rate: float, arriving: float) -> float | None:
    """For how many seconds so much is folded, and what comes meanwhile is caught up with."""
    if not events:
        return 0.0
    left = 1 - FOLLOWED * arriving / rate
    return round(events / rate / left, 1) if left > 0 else None
