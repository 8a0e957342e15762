"""One line and one measurement for each request. Both are on the hot path, so they cost microseconds."""

from collections.abc import Mapping
from typing import Any

from prometheus_client import Histogram

from infra.logs import Lines
from infra.telemetry import RequestContext
from infra.web.problems import instance_of

LONGEST_PATH = 512
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

DURATION = Histogram(
    "http_server_request_duration_seconds",
    "How long requests took, by route template",
    ("http_request_method", "http_route", "http_response_status_code"),
    buckets=BUCKETS,
)


class AccessLog:
    """Writes access lines to stderr, several at a time."""

    def __init__(self, service: str) -> None:
        self._lines = Lines(service)

    def record(self, scope: Mapping[str, Any], context: RequestContext, status: int, seconds: float) -> None:
        method, path = scope["method"], instance_of(scope)[:LONGEST_PATH]
        entry: dict[str, Any] = {
            "message": f"{method} {path} {status}",
            "log": {"logger": "access"},
            "http": {
                "request": {"method": method, "id": context.request_id},
                "response": {"status_code": status},
            },
            "url": {"path": path},
            "event": {"duration": int(seconds * 1e9)},
            "milliseconds": round(seconds * 1e3, 3),
            "trace": {"id": context.trace_id},
            "span": {"id": context.span_id},
        }
        if (actor := scope.get("actor")) is not None:
            entry["user"] = {"id": actor}
        self._lines.write(entry)

    def flush(self) -> None:
        self._lines.flush()


class Durations:
    """Measures requests per route template, so that what clients send cannot make new series."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, int], Histogram] = {}

    def record(self, scope: Mapping[str, Any], status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        key = (method, template(scope), status)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = DURATION.labels(*key)
        series.observe(seconds)


def template(scope: Mapping[str, Any]) -> str:
    """The declared route that a request met: never what the client sent."""
    declared: str | None = scope.get("route_template") or getattr(scope.get("route"), "path", None)
    return declared or scope["app"].templates.get(scope.get("endpoint"), "unmatched")
