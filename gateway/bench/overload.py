"""headrace bench overload: more commands than the service can do, and how soon all is well after it."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Annotated, Any

import psutil
import typer

from gateway.bench.load import Client, Heard
from gateway.bench.place import Server, opened
from infra.bench.figures import quantile
from infra.bench.shown import AsJson, Seconds, bench, show, told
from infra.console import clear_errors
from infra.native import here

MIB = 1024 * 1024
CONNECTIONS = 64
SPAN_SECONDS = 0.5
AFTER_SECONDS = 10.0
TIMES_NORMAL = 3.0


@bench.command()
def overload(
    capacity: Annotated[float, typer.Option(min=10, max=100_000, help="What the service can do in a second.")] = 400.0,
    times: Annotated[float, typer.Option(min=1, max=20, help="How many times as much is asked.")] = 3.0,
    seconds: Seconds = 5.0,
    connections: Annotated[int, typer.Option(min=32, max=10_000, help="So many clients there are.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Ask more than the service behind the gateway can do: what is still done, how fast, and what is normal again."""
    with clear_errors(), opened(here()) as place, Client() as client, ExitStack() as stack:
        front = stack.enter_context(place.gateway(stack.enter_context(place.upstream(capacity))))
        told("as usual")
        usual = client.ask(place.load(front, CONNECTIONS, seconds))
        before = resident(front)
        told(f"{times:g} times as much")
        rate = usual.round().rate
        much = client.ask(place.load(front, connections, seconds, rate=times * rate))
        told("as usual again")
        again = client.ask(place.load(front, CONNECTIONS, AFTER_SECONDS, rate=rate / 2))
        memory = {"resident_mib_before": before, "resident_mib_after": resident(front)}
    environment = {"capacity": capacity, "times": times, "connections": connections, "cpus": os.cpu_count()}
    show("overload", compared(usual, much, again) | memory | {"environment": environment}, as_json)


def resident(server: Server) -> float:
    return float(psutil.Process(server.pid).memory_info().rss / MIB)


def compared(usual: Heard, much: Heard, again: Heard) -> dict[str, Any]:
    """What was done under too much as a share of what is done as usual, and how long what was done took."""
    peak, normal = len(usual.accepted()) / usual.seconds, usual.p99()
    # What was accepted before the end is done after it.
    within = [latency for sent, latency in much.accepted() if sent + latency <= much.seconds]
    return {
        "usual": {"accepted_per_second": peak, "p50_ms": p50_ms(usual), "p99_ms": 1000 * normal},
        "overload": {
            "asked_per_second": len(much.sent) / much.seconds,
            "accepted_per_second": len(within) / much.seconds,
            "p50_ms": p50_ms(much),
            "p99_ms": 1000 * much.p99(),
            "refused": {str(status): share for status, share in refusals(much.statuses).items()},
        },
        "ratio_goodput_to_usual": len(within) / much.seconds / peak,
        "ratio_p99_to_usual": much.p99() / normal,
        "normal_after_seconds": normal_after(again, TIMES_NORMAL * normal),
    }


def p50_ms(heard: Heard) -> float:
    return 1000 * quantile([latency for _, latency in heard.accepted()], 0.5)


def refusals(statuses: Sequence[int]) -> dict[int, float]:
    """The share of each status that is a refusal."""
    return {one: statuses.count(one) / len(statuses) for one in sorted(set(statuses)) if one >= 300}


def normal_after(heard: Heard, bound: float) -> float | None:
    """When the first span began in which nothing was refused and the p99 was in bounds; None if there was none."""
    spans: dict[int, list[float]] = {}
    for sent, status, latency in zip(heard.sent, heard.statuses, heard.latencies, strict=True):
        spans.setdefault(int(sent / SPAN_SECONDS), []).append(latency if status < 300 else float("inf"))
    return next((SPAN_SECONDS * one for one in sorted(spans) if quantile(spans[one], 0.99) <= bound), None)
