"""headrace bench gateway: what our proxying costs, in turns with nginx and Caddy before the same service."""

import os
import platform
import ssl
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from statistics import median
from typing import Annotated, Any

import typer

from gateway.bench import tokens
from gateway.bench.load import Client
from gateway.bench.place import GATEWAY, Place, Server, opened, program
from infra.bench.figures import Figure, Round, busy, known, quantile
from infra.bench.shown import AsJson, Rounds, Seconds, bench, show, told
from infra.console import clear_errors
from infra.errors import MissingTool
from infra.native import here

OURS, DIRECT = "gateway", "direct"
REFERENCES = ("nginx", "caddy")
Connections = Annotated[int, typer.Option(min=1, max=1024, help="So many ask at the same time.")]
Taken = dict[str, list[Round]]


@bench.command()
def gateway(
    connections: Connections = 32,
    seconds: Seconds = 3.0,
    rounds: Rounds = 5,
    as_json: AsJson = False,
) -> None:
    """Pass commands on: TLS in front, mutual TLS behind, tokens, scopes, limits and the access log, beside nginx."""
    with clear_errors():
        versions = {name: version(name) for name in present()}
        with opened(here()) as place, Client() as client:
            many, one = measured(place, client, list(versions), connections, seconds, rounds)
            judged = [tokens.verified(place.system.settings(GATEWAY)) for _ in range(rounds)]
    surroundings = {"cpus": os.cpu_count(), "python": platform.python_version(), "tls": ssl.OPENSSL_VERSION, **versions}
    found = compared(many, one) | {"tokens": verifications(judged), "connections": connections}
    show("gateway", found | {"environment": surroundings}, as_json)


def present() -> list[str]:
    """The proxies that are on this machine. Raises `MissingTool` without nginx; Caddy may be missing."""
    program("nginx")
    return [name for name in REFERENCES if there(name)]


def there(name: str) -> bool:
    try:
        program(name)
    except MissingTool as error:
        told(f"without {name}: {error.hint}")
        return False
    return True


def version(name: str) -> str:
    call = [program(name), {"nginx": "-v"}.get(name, "version")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)  # noqa: S603
    return (done.stdout or done.stderr).strip().removeprefix("nginx version: ")


def measured(  # noqa: PLR0917  # a side has no other place for them
    place: Place, client: Client, references: Sequence[str], connections: int, seconds: float, rounds: int
) -> tuple[Taken, Taken]:
    """Rounds of each side with many connections, and with one at a time; these also without any proxy."""
    many: Taken = {}
    one: Taken = {}
    starts: dict[str, Callable[[Server], AbstractContextManager[Server]]] = {
        name: getattr(place, name) for name in (OURS, *references)
    }
    with ExitStack() as stack:
        behind = stack.enter_context(place.upstream())
        sides = {name: stack.enter_context(start(behind)) for name, start in starts.items()}
        for number in range(rounds):
            told(f"round {number + 1} of {rounds}")
            for name, server in sides.items():
                many.setdefault(name, []).append(client.ask(place.load(server, connections, seconds)).round())
                one.setdefault(name, []).append(client.ask(place.load(server, 1, seconds)).round())
            one.setdefault(DIRECT, []).append(client.ask(place.direct(behind, 1, seconds)).round())
    return many, one


def compared(many: Mapping[str, Sequence[Round]], one: Mapping[str, Sequence[Round]]) -> dict[str, Any]:
    """Our figures, those of the references, and the ratios: each of the medians of all rounds."""
    figures, costs = {name: Figure.of(rounds) for name, rounds in many.items()}, busy(many)
    alone = {name: 1e6 * median(quantile(each.latencies, 0.5) for each in rounds) for name, rounds in one.items()}
    found: dict[str, Any] = {
        **{name: known(figure) for name, figure in figures.items()},
        "processor_microseconds_per_request": costs,
        "added_p50_microseconds": {name: p50 - alone[DIRECT] for name, p50 in alone.items() if name != DIRECT},
    }
    for name in (name for name in figures if name != OURS):
        found[f"ratio_processor_to_{name}"] = costs[OURS] / costs[name]
        found[f"ratio_requests_to_{name}"] = figures[OURS].events_per_second / figures[name].events_per_second
    return found


def verifications(judged: Sequence[Mapping[str, Round]]) -> dict[str, float]:
    return {f"{name}_per_second": median(one[name].rate for one in judged) for name in judged[0]}
