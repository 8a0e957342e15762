"""headrace bench project"""

import asyncio
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer
import uvloop

from eventstore.bench.commands import bench, show, told
from eventstore.bench.figures import Round
from eventstore.console import AsJson
from infra.console import clear_errors
from infra.native import here
from projections.bench import run
from projections.bench.place import opened
from projections.lanes.direct_lane import DirectLane
from projections.lanes.faust_lane import FaustLane


@bench.command()
def project(
    events: Annotated[int, typer.Option(min=1000, max=10_000_000, help="So many are published first.")] = 50_000,
    as_json: AsJson = False,
) -> None:
    """Project events by each lane, beside a faust agent that only counts, and beside Kafka and PostgreSQL alone."""
    with clear_errors():
        told("filling two topics")
        with opened(here(), events, ("bench-faust", "bench-direct")) as (first, second):
            sides: dict[str, Callable[[], Round]] = {
                "stock_faust_agent": lambda: asyncio.run(run.stock(first)),
                "raw_consume": lambda: run.consume(second),
                "raw_upsert": lambda: run.upsert(second),
                "faust_lane": lambda: uvloop.run(run.lane(first, FaustLane)),
                "direct_lane": lambda: uvloop.run(run.lane(second, DirectLane)),
            }
            rates = dict[str, float]()
            for name, measure in sides.items():
                told(name.replace("_", " "))
                rates[name] = measure().rate
    show("project", compared(events, rates), as_json)


def compared(events: int, rates: dict[str, float]) -> dict[str, Any]:
    """Events a second of each side, and the ratios that matter."""
    stock, limit = rates["stock_faust_agent"], min(rates["raw_consume"], rates["raw_upsert"])
    return {
        "events": events,
        "events_per_second": rates,
        "ratio_faust_lane_to_stock": rates["faust_lane"] / stock,
        "ratio_direct_lane_to_stock": rates["direct_lane"] / stock,
        "ratio_direct_lane_to_limit": rates["direct_lane"] / limit,
        "environment": {"cpus": os.cpu_count()},
    }
