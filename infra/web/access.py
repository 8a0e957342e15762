"""One line and one measurement for each request. Both are on the hot path, so they cost microseconds."""

import asyncio
import sys
from collections.abc import Mapping, MutableSequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson
from prometheus_client import Histogram

from infra.telemetry import RequestContext
from infra.web.problems import instance_of

FLUSH_SECONDS = 0.2
FLUSH_LINES = 256
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
        self._service = {"name": service}
        self._lines: MutableSequence[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def record(self, scope: Mapping[str, Any], context: RequestContext, status: int, seconds: float) -> None:
        method, path = scope["method"], instance_of(scope)[:LONGEST_PATH]
        entry: dict[str, Any] = {
            "@timestamp": datetime.now(UTC),
            "log.level": "info",
            "message": f"{method} {path} {status}",
            "ecs.version": "1.6.0",
            "log": {"logger": "access"},
            "service": self._service,
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
        self._lines.append(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
        if len(self._lines) >= FLUSH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Writes what waits. A reader of the log that has gone away does not stop the service."""
        lines, self._lines, timer, self._timer = self._lines, [], self._timer, None
        if timer is not None:
            timer.cancel()
        with suppress(OSError, ValueError):
            sys.stderr.write(b"".join(lines).decode())
            sys.stderr.flush()


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
