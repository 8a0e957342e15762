"""What a rebuild would do and how long it would take, measured on samples of the log. Changes nothing."""

from dataclasses import dataclass
from time import perf_counter

from domains.kernel import Row
from eventstore.store import EventStore
from projections.refolding.beside import Standing
from projections.refolding.rebuild import weight
from projections.refolding.refold import fold
from projections.rows import AnyView

SAMPLES, SAMPLE = 5, 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """`events` and `rows` are there now; `suppressed` names the effects that folding them again will not have."""

    view: str
    events: int
    rows: int
    passes: int
    events_per_second: float
    seconds: float
    suppressed: list[str]


async def estimate(standing: Standing, view: AnyView, store: EventStore, memory: int) -> Estimate:
    """Raises `RebuildFailed`, `UnreadableEvent` and `StoreUnavailable`."""
    end = max((await standing.positions()).values(), default=0)
    rows = await standing.rows(view)
    held, read, began = dict[str, Row](), 0, perf_counter()
    for after in sorted({end * number // SAMPLES for number in range(SAMPLES)}):
        page = await store.read_log(after=after, limit=min(SAMPLE, end))
        fold(standing.domain, view, page, held)
        read += len(page)
    taken = perf_counter() - began
    each = sum(map(weight, held.values())) / max(1, len(held))
    passes = max(1, -(-round(max(rows, len(held)) * each) // memory))
    rate = read / taken if read else 0.0
    topic = standing.domain.view_topic(view)
    return Estimate(
        f"{standing.domain.name}/{view.name}",
        end,
        rows,
        passes,
        round(rate),
        round(passes * end / rate, 1) if rate else 0.0,
        [f"publishing to {topic}: rows that differ afterwards are published once, by the worker"],
    )
