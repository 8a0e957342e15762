"""headrace bench visible: from the answer to a command to the answer that shows its row, alone and under load."""

import os
import platform
import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from itertools import count
from random import Random
from time import monotonic, perf_counter, sleep
from typing import Annotated, Any

import typer

from gateway.bench.load import NUMBER, Client, Heard
from gateway.bench.place import Place, Server, opened
from infra.bench.figures import quantile
from infra.bench.shown import AsJson, Seconds, bench, show, told
from infra.console import clear_errors
from infra.errors import StartFailed
from infra.native import here

SERVERS, SIDES = ("postgres", "kafka"), ("write", "read")
CONNECTIONS = 64
# Probes count from here, so that none has the name of a command of the load.
FIRST = 50_000_000
PAUSE_SECONDS = 0.05  # the mean; a fixed one would fall into step with whoever gathers
SEED = 11
WARM_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Probe:
    """Seconds: of a command, from its answer to the answer that shows its row, and of a question without a wait."""

    command: float
    visible: float
    question: float


class Prober:
    """One person who sends a command, and asks for its row as soon as it is acknowledged."""

    def __init__(self, place: Place, front: Server, view: str) -> None:
        context = ssl.create_default_context(cafile=str(place.own / "ca.pem"))
        self._connection = HTTPSConnection("localhost", front.port, timeout=30, context=context)
        head, _, self._body = place.request().partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        self._command = first.split()[1]
        self._headers = dict(field.split(": ", 1) for field in fields)
        self._view = f"{self._command.rsplit('/', 2)[0]}/{view}/bench-"
        self._token = {"authorization": self._headers["authorization"]}

    def close(self) -> None:
        self._connection.close()

    def probe(self, number: int) -> Probe:
        """Raises `StartFailed` if the answer does not show the row."""
        name = f"{number:0{len(NUMBER)}d}"
        began = perf_counter()
        sent = {key: value.replace(NUMBER.decode(), name) for key, value in self._headers.items()}
        seen = self._ask("POST", self._command.replace(NUMBER.decode(), name), sent, self._body)
        acknowledged = perf_counter()
        self._ask("GET", self._view + name, self._token | {"consistency-token": seen})
        visible = perf_counter()
        self._ask("GET", self._view + name, self._token)
        return Probe(acknowledged - began, visible - acknowledged, perf_counter() - visible)

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> str:
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise StartFailed(f"{method} {path} was answered {answer.status}: {content[:200].decode(errors='replace')}")
        return answer.headers.get("consistency-token", "")


@bench.command()
def visible(
    rate: Annotated[
        float, typer.Option(min=1, max=100_000, help="So many commands arrive in a second meanwhile.")
    ] = 500.0,
    seconds: Seconds = 20.0,
    as_json: AsJson = False,
) -> None:
    """How long a row takes from its command's answer to HTTP: on an idle system, and while commands arrive."""
    with clear_errors():
        told("starting the system")
        with opened(here(), SERVERS, SIDES) as place, Client() as client, ExitStack() as stack:
            front = stack.enter_context(place.gateway_of({place.domain.name: place.sides(*SIDES)}))
            found = measured(place, front, client, rate, seconds)
    surroundings = {"cpus": os.cpu_count(), "python": platform.python_version()}
    show("visible", found | {"environment": surroundings}, as_json)


def measured(place: Place, front: Server, client: Client, rate: float, seconds: float) -> dict[str, Any]:
    numbers = count(FIRST)
    with prober(place, front) as one:
        told("warming up")
        client.ask(place.load(front, CONNECTIONS, WARM_SECONDS, rate=rate))
        told("idle")
        idle = list(probes(one, numbers, seconds))
        told(f"{rate:g} commands a second")
        load = place.load(front, CONNECTIONS, seconds, rate=rate, first=FIRST // 2)
        under_way = client.begin(load)
        under_load = list(probes(one, numbers, seconds))
    return compared(idle, under_load, under_way.result())


@contextmanager
def prober(place: Place, front: Server) -> Iterator[Prober]:
    """Asks the view that has a row for each stream."""
    view = next((view.name for view in place.domain.views if view.key == place.domain.identity), None)
    if view is None:
        raise StartFailed(f"no view of {place.domain.name} has a row for each stream")
    one = Prober(place, front, view)
    try:
        yield one
    finally:
        one.close()


def probes(one: Prober, numbers: Iterator[int], seconds: float) -> Iterator[Probe]:
    end, chance = monotonic() + seconds, Random(SEED)  # noqa: S311
    while monotonic() < end:
        yield one.probe(next(numbers))
        sleep(chance.uniform(0, 2 * PAUSE_SECONDS))


def compared(idle: Sequence[Probe], under_load: Sequence[Probe], load: Heard) -> dict[str, Any]:
    told = {name: times(taken) for name, taken in (("idle", idle), ("under_load", under_load))}
    return {**told, "commands_per_second": load.round().rate}


def times(taken: Sequence[Probe]) -> dict[str, Any]:
    """Milliseconds of each part of a probe."""
    return {
        "probes": len(taken),
        **{
            f"{name}_{q}_ms": 1000 * quantile([getattr(one, name) for one in taken], share)
            for name in Probe.__slots__
            for q, share in (("p50", 0.5), ("p99", 0.99))
        },
    }
