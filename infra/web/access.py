"""One line and one measurement for each request. Both are on the hot path, so they cost microseconds."""

from collections.abc import Mapping
from time import gmtime, strftime, time
from typing import Any

import orjson
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
        self._second, self._stamp = 0, ""
        self._lines, self._end = Lines(service), f',"ecs.version":"1.6.0","service":{{"name":"{service}"}}}}'

    def record(self, scope: Mapping[str, Any], context: RequestContext, status: int, seconds: float) -> None:
        method, actor, trace = scope["method"], scope.get("actor"), context.traceparent
        path = quoted(instance_of(scope)[:LONGEST_PATH])
        user = f',"user":{{"id":{quoted(actor)}}}' if actor is not None else ""
        # A serializer would first want all of this as objects, which costs three times as much.
        self._lines.add(
            f'{{"@timestamp":"{self._now()}","log.level":"info",'
            f'"message":"{method} {path[1:-1]} {status}","log":{{"logger":"access"}},'
            f'"http":{{"request":{{"method":"{method}","id":"{context.request_id}"}},'
            f'"response":{{"status_code":{status}}}}},"url":{{"path":{path}}},'
            f'"event":{{"duration":{seconds * 1e9:.0f}}},"milliseconds":{seconds * 1e3:.3f},'
            f'"trace":{{"id":"{trace[3:35]}"}},"span":{{"id":"{trace[36:52]}"}}{user}{self._end}'
        )

    def _now(self) -> str:
        now = time()
        if (second := int(now)) != self._second:
            self._second, self._stamp = second, strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1e6):06d}Z"

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


def quoted(text: str) -> str:
    return orjson.dumps(text).decode()


def template(scope: Mapping[str, Any]) -> str:
    """The declared route that a request met: never what the client sent."""
    declared: str | None = scope.get("route_template") or getattr(scope.get("route"), "path", None)
    return declared or scope["app"].templates.get(scope.get("endpoint"), "unmatched")
