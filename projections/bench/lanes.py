"""headrace bench project"""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
import uvloop

from infra.bench.figures import Figure, Round, busy
from infra.bench.shown import AsJson, bench, show, told
from infra.console import clear_errors
from infra.native import here
from projections.bench import run
from projections.bench.place import opened
from projections.lanes.direct_lane import DirectLane
from projections.lanes.faust_lane import FaustLane


@bench.command()
def project(
    events: Annotated[
        int, typer.Option(min=1000, max=10_000_000, help="So many are published for each lane.")
    ] = 50_000,
    rounds: Annotated[int, typer.Option(min=1, max=99, help="Each figure is the median of so many rounds.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Project events by each lane, beside a faust agent that only counts, and beside Kafka and PostgreSQL alone."""
    taken: dict[str, list[Round]] = {}
    with clear_errors():
        for number in range(rounds):
            told(f"round {number + 1} of {rounds}")
            for name, one in measured(events):
                taken.setdefault(name, []).append(one)
    show("project", compared(events, taken), as_json)


def measured(events: int) -> Iterator[tuple[str, Round]]:
    """One round of each side, on topics that are filled anew."""
    with opened(here(), events, ("bench-faust", "bench-direct")) as (first, second):
        yield "stock_faust_agent", asyncio.run(run.stock(first))
        yield "raw_consume", run.consume(second)
        yield "raw_upsert", run.upsert(second)
        yield "faust_lane", uvloop.run(run.lane(first, FaustLane))
        yield "direct_lane", uvloop.run(run.lane(second, DirectLane))


def compared(events: int, taken: Mapping[str, Sequence[Round]]) -> dict[str, Any]:
    """Events a second of each side, the processor time that our process took for each, and the ratios that matter."""
    rates = {name: Figure.of(rounds).events_per_second for name, rounds in taken.items()}
    stock, limit = rates["stock_faust_agent"], min(rates["raw_consume"], rates["raw_upsert"])
    return {
        "events": events,
        "events_per_second": rates,
        "processor_microseconds_per_event": busy(taken),
        "ratio_faust_lane_to_stock": rates["faust_lane"] / stock,
        "ratio_direct_lane_to_stock": rates["direct_lane"] / stock,
        "ratio_direct_lane_to_limit": rates["direct_lane"] / limit,
        "environment": {"cpus": os.cpu_count()},
    }
