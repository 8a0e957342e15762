"""headrace bench keys"""

from statistics import median
from typing import Annotated, Any

import psutil
import typer
import uvloop

from infra.bench.shown import AsJson, bench, show, told
from infra.console import clear_errors
from infra.native import here
from projections.bench import run
from projections.bench.place import Place, opened
from projections.lanes.direct_lane import DirectLane
from projections.lanes.faust_lane import FaustLane

LANES: dict[str, run.Lane] = {"faust_lane": FaustLane, "direct_lane": DirectLane}
SAMPLES = 20


@bench.command()
def keys(
    number: Annotated[
        int, typer.Option("--keys", min=1000, max=10_000_000, help="So many keys, each with one event.")
    ] = 1_000_000,
    as_json: AsJson = False,
) -> None:
    """The memory of a worker that projects one event of each of many keys, at twenty moments, by each lane."""
    found = {}
    with clear_errors():
        for name, kind in LANES.items():
            told(f"{name}: publishing {number:,} events")
            with opened(here(), number, (f"bench-{name.partition('_')[0]}",), each=1) as (place,):
                told(f"{name}: projecting them")
                found[name] = resident(place, kind)
    show("keys", {"keys": number, **found}, as_json)


def resident(place: Place, kind: run.Lane) -> dict[str, Any]:
    """MiB resident in this process while it projects, and how fast that was."""
    process, found = psutil.Process(), list[float]()

    def seen(left: int) -> None:
        while len(found) < SAMPLES * (place.events - left) // place.events:
            found.append(process.memory_info().rss / 2**20)

    done = uvloop.run(run.lane(place, kind, seen))
    settled = found[SAMPLES // 5 :]
    return {
        "events_per_second": done.rate,
        "resident_mib": [round(each, 1) for each in found],
        "ratio_end_to_begin": median(settled[-3:]) / median(settled[:3]),
    }
