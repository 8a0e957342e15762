"""headrace bench append | read | rehydrate | growth | memory"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Any

import typer
import uvloop

from eventstore.bench import fold, limit, ours, peer
from eventstore.bench.growth import Grown, tail
from eventstore.bench.place import Place, opened
from eventstore.console import store_errors
from infra.bench.figures import Figure, Round, known
from infra.bench.shown import AsJson, Rounds, Seconds, bench, show, told
from infra.garbage import collect_rarely
from infra.native import here

LIMIT_ROWS = 100_000
TRIAL_SECONDS = 1.0
SAMPLES = 20

Payload = Annotated[int, typer.Option(min=11, max=1_000_000, help="Bytes of each event.")]


@bench.command()
def append(  # noqa: PLR0917  # they are options
    writers: Annotated[int, typer.Option(min=1, max=4096, help="Callers that wait for their answers.")] = 64,
    events: Annotated[int, typer.Option(min=1, max=1000, help="Events of each append.")] = 1,
    payload: Payload = 250,
    seconds: Seconds = 5.0,
    rounds: Rounds = 3,
    library: Annotated[
        bool, typer.Option("--library", help="An application of `eventsourcing` on both modules, 16 threads.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Append events, with every guarantee on; one in ten says something about a person, which is sealed."""
    with measuring() as place:
        load = Load(writers, events, payload, seconds, rounds)
        found = through_library(place, seconds, rounds) if library else appends(place, load)
        show("append", found | surroundings(place, payload), as_json)


@bench.command()
def read(
    events: Annotated[int, typer.Option(min=1000, max=10_000_000, help="So many are recorded first.")] = 100_000,
    page: Annotated[int, typer.Option(min=1, max=10_000, help="Events of each page.")] = 1000,
    payload: Payload = 250,
    rounds: Rounds = 5,
    as_json: AsJson = False,
) -> None:
    """Read the log in pages, decoded to events."""
    with measuring() as place:
        told("filling the store")
        asyncio.run(ours.fill(place.conninfo, events, payload))
        mine, bound = [], []
        for number in range(rounds):
            told(f"round {number + 1} of {rounds}")
            mine.append(uvloop.run(ours.reads(place.conninfo, page)))
            bound.append(limit.reads(place.conninfo, page))
        found = {"page": page, **compared(Figure.of(mine), bound=Figure.of(bound))}
        show("read", found | surroundings(place, payload), as_json)


@bench.command()
def rehydrate(
    events: Annotated[int, typer.Option(min=1000, max=10_000, help="Events of the stream.")] = 1000,
    payload: Payload = 250,
    rounds: Rounds = 5,
    as_json: AsJson = False,
) -> None:
    """Fold one stream to its state: cold, and from a snapshot that lies 50 events back."""
    with measuring() as place:
        asyncio.run(ours.fill(place.conninfo, events, payload, "bench-long"))
        taken = []
        for number in range(rounds):
            told(f"round {number + 1} of {rounds}")
            taken.append(fold.all_of_them(place, "bench-long", events))
        cold, kept, other = (Figure.of(side) for side in zip(*taken, strict=True))
        found = compared(cold, other) | {"with_snapshot": compared(kept, other)}
        show("rehydrate", {"events": events, **found, **surroundings(place, payload)}, as_json)


@bench.command()
def growth(  # noqa: PLR0917  # they are options
    events: Annotated[int, typer.Option(min=100_000, max=100_000_000, help="So many the log has.")] = 5_000_000,
    writers: Annotated[int, typer.Option(min=1, max=4096, help="Callers that wait for their answers.")] = 64,
    payload: Payload = 250,
    seconds: Seconds = 5.0,
    rounds: Rounds = 5,
    as_json: AsJson = False,
) -> None:
    """Append to a log that has grown, and read its tail, in turns with an empty log."""
    with measuring() as place:
        grown, done = Grown.beside(place), 0
        while done < events:
            done = grown.grow(done, payload)
            told(f"{done:,} of {events:,} events")
        grown.settle()
        taken: dict[str, list[Round]] = {"append": [], "append_empty": [], "tail": [], "tail_empty": []}
        for number in range(rounds):
            told(f"round {number + 1} of {rounds}")
            for name, where in (("", grown.place), ("_empty", place)):
                taken[f"append{name}"].append(uvloop.run(ours.appends(where.conninfo, writers, 1, payload, seconds)))
                taken[f"tail{name}"].append(uvloop.run(tail(where.conninfo)))
        found = {name: Figure.of(each) for name, each in taken.items()}
        figures = {name: known(figure) for name, figure in found.items()}
        ratios = {
            f"ratio_{name}": found[name].events_per_second / found[f"{name}_empty"].events_per_second
            for name in ("append", "tail")
        }
        show(
            "growth",
            {"events": done, "writers": writers, **figures, **ratios, **surroundings(place, payload)},
            as_json,
        )


@bench.command()
def memory(
    writers: Annotated[int, typer.Option(min=1, max=4096, help="Callers that wait for their answers.")] = 64,
    payload: Payload = 250,
    seconds: Seconds = 300.0,
    as_json: AsJson = False,
) -> None:
    """The memory of a process that appends as fast as it can, at twenty moments."""
    with measuring() as place:
        told(f"appending for {seconds:.0f} s")
        found = uvloop.run(ours.memory(place.conninfo, writers, payload, seconds, SAMPLES))
        settled = found[SAMPLES // 10 :]
        ratio = median(settled[-3:]) / median(settled[:3])
        shown = {"resident_mib": [round(each, 1) for each in found], "ratio_end_to_begin": ratio}
        show("memory", {"writers": writers, "seconds": seconds, **shown, **surroundings(place, payload)}, as_json)


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a store and of its peer."""

    writers: int
    events: int
    payload: int
    seconds: float
    rounds: int


def appends(place: Place, load: Load) -> dict[str, Any]:
    told("looking for the peer's best number of threads")
    trials = {
        threads: peer.recorder_appends(place, threads, load.payload, load.events, min(TRIAL_SECONDS, load.seconds)).rate
        for threads in peer.THREADS
    }
    threads = max(trials, key=lambda number: trials[number])
    encoded = limit.rows(LIMIT_ROWS, load.payload)
    mine: list[Round] = []
    others: list[Round] = []
    bound: list[Round] = []
    for number in range(load.rounds):
        told(f"round {number + 1} of {load.rounds}")
        mine.append(uvloop.run(ours.appends(place.conninfo, load.writers, load.events, load.payload, load.seconds)))
        bound.append(limit.copies(place.conninfo, encoded, LIMIT_ROWS))
        others.append(peer.recorder_appends(place, threads, load.payload, load.events, load.seconds))
    found = compared(Figure.of(mine), Figure.of(others), Figure.of(bound))
    return {"writers": load.writers, "events_per_append": load.events, "peer_threads": threads, **found}


def through_library(place: Place, seconds: float, rounds: int) -> dict[str, Any]:
    threads = max(peer.THREADS)
    mine: list[Round] = []
    others: list[Round] = []
    for number in range(rounds):
        told(f"round {number + 1} of {rounds}")
        mine.append(peer.application_appends(place, peer.OURS, threads, seconds))
        others.append(peer.application_appends(place, peer.PEER, threads, seconds))
    return {"writers": threads, "peer_threads": threads, **compared(Figure.of(mine), Figure.of(others))}


def compared(mine: Figure, other: Figure | None = None, bound: Figure | None = None) -> dict[str, Any]:
    """Our figure, and the ratios to what was measured beside it."""
    found: dict[str, Any] = known(mine)
    for name, figure in (("peer", other), ("limit", bound)):
        if figure is not None:
            found[name] = known(figure)
            found[f"ratio_to_{name}"] = mine.events_per_second / figure.events_per_second
    return found


def surroundings(place: Place, payload: int) -> dict[str, Any]:
    return {"environment": {"payload_bytes": payload, **place.environment(place.fsync_seconds())}}


@contextmanager
def measuring() -> Iterator[Place]:
    with store_errors():
        told("starting PostgreSQL")
        with opened(here()) as place:
            # As a process that serves does: no side pays for what was loaded before.
            collect_rarely()
            yield place
