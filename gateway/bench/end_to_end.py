"""headrace bench http: a command through the gateway into the log, beside FastAPI that only says hello."""

import os
import platform
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Any

from gateway.bench.load import Client, Heard, Load
from gateway.bench.place import GATEWAY, Place, opened
from gateway.bench.proxying import Connections
from infra.bench.figures import Figure, known
from infra.bench.shown import AsJson, Rounds, Seconds, bench, show, told
from infra.console import clear_errors
from infra.native import here

SERVERS = ("postgres", "kafka")
EACH = 1_000_000
WARM = 3  # rounds that are not counted: for the first seconds Kafka mostly compiles what it will do often
OURS, HELLO = "command", "fastapi"


@bench.command()
def http(connections: Connections = 32, seconds: Seconds = 3.0, rounds: Rounds = 5, as_json: AsJson = False) -> None:
    """Send commands end to end, a process for each role, beside FastAPI with the same body model and the same TLS."""
    with clear_errors():
        told("starting the servers")
        with opened(here(), SERVERS, ("write",)) as place, Client() as client:
            found = compared(measured(place, client, connections, seconds, rounds))
    surroundings = {"cpus": os.cpu_count(), "python": platform.python_version()}
    show("http", found | {"connections": connections, "environment": surroundings}, as_json)


Asked = tuple[Load, Sequence[str]]


def measured(place: Place, client: Client, *asked: float) -> dict[str, list[tuple[Heard, Sequence[str]]]]:
    """Rounds of each side, with the names of the processes whose time was counted."""
    connections, seconds, rounds = int(asked[0]), asked[1], int(asked[2])
    taken: dict[str, list[tuple[Heard, Sequence[str]]]] = {OURS: [], HELLO: []}
    running = {name: place.running(name) for name in (place.service, *SERVERS)}
    with ExitStack() as stack:
        front = stack.enter_context(place.gateway_of({place.domain.name: place.sides("write")}))
        other = stack.enter_context(place.hello())
        pids = (front.pid, *(server.pid for server in running.values()))
        ours = replace(place.load(front, connections, seconds), processes=pids)
        theirs = replace(place.load(other, connections, seconds), request=place.request(identified=True))
        sides: dict[str, Asked] = {OURS: (ours, (GATEWAY, *running)), HELLO: (theirs, (HELLO,))}
        for number in range(1 - WARM, rounds + 1):
            told(f"round {number} of {rounds}" if number > 0 else "warming up")
            for name, (load, names) in sides.items():
                heard = client.ask(replace(load, first=(number + WARM) * EACH))
                taken[name] += [(heard, names)] if number > 0 else []
    return taken


def compared(taken: dict[str, list[tuple[Heard, Sequence[str]]]]) -> dict[str, Any]:
    """Commands a second beside FastAPI's answers, and what each process takes for one."""
    figures = {name: Figure.of([heard.round() for heard, _ in rounds]) for name, rounds in taken.items()}
    costs = {
        name: 1e6 * median(heard.busy[place] / len(heard.latencies) for heard, _ in rounds)
        for rounds in taken.values()
        for place, name in enumerate(rounds[0][1])
    }
    return {
        **{name: known(figure) for name, figure in figures.items()},
        "ratio_to_fastapi": figures[OURS].events_per_second / figures[HELLO].events_per_second,
        "processor_microseconds_per_request": costs,
    }
