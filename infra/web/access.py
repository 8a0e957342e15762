"""One line and one measurement for each request. Both are on the hot path, so they cost microseconds."""

from collections.abc import Iterable, Mapping
from functools import partial
from json.encoder import encode_basestring_ascii as quoted
from time import gmtime, strftime, time
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Histogram, Metric
from prometheus_client.registry import Collector

from infra.logs import Lines
from infra.telemetry import RequestContext

LONGEST_PATH = 512
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NAME = "http_server_request_duration_seconds"
MOST_PENDING = 256
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


Key = tuple[str, str, int]


class AccessLog:
    """Writes access lines to stderr, several at a time."""

    def __init__(self, service: str) -> None:
        self._second, self._stamp = 0, ""
        self._lines, self._end = Lines(service), f',"ecs.version":"1.6.0","service":{{"name":"{service}"}}}}'

    def record(self, scope: Mapping[str, Any], context: RequestContext, status: int, seconds: float) -> None:
        asked = scope["method"], scope["raw_path"], scope.get("actor")
        self._lines.add(partial(self._line, asked, context, status, seconds, time()))

    def _line(
        self, asked: tuple[str, bytes, str | None], context: RequestContext, status: int, seconds: float, now: float
    ) -> str:
        (method, raw_path, actor), trace = asked, context.traceparent
        path = quoted(raw_path.decode("ascii", "replace")[:LONGEST_PATH])
        user = f',"user":{{"id":{quoted(actor)}}}' if actor is not None else ""
        if (second := int(now)) != self._second:
            self._second, self._stamp = second, strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
        # A serializer would first want all of this as objects, which costs three times as much.
        return (
            f'{{"@timestamp":"{self._stamp}.{int((now - second) * 1e6):06d}Z","log.level":"info",'
            f'"message":"{method} {path[1:-1]} {status}","log":{{"logger":"access"}},'
            f'"http":{{"request":{{"method":"{method}","id":"{context.request_id}"}},'
            f'"response":{{"status_code":{status}}}}},"url":{{"path":{path}}},'
            f'"event":{{"duration":{seconds * 1e9:.0f}}},"milliseconds":{seconds * 1e3:.3f},'
            f'"trace":{{"id":"{trace[3:35]}"}},"span":{{"id":"{trace[36:52]}"}}{user}{self._end}'
        )

    def flush(self) -> None:
        self._lines.flush()


class Durations(Collector):
    """Measures requests per route template, so that what clients send cannot make new series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("http_request_method", "http_route", "http_response_status_code")
        about = "How long requests took, by route template"
        self._histogram = Histogram(NAME, about, labels, buckets=BUCKETS, registry=None)
        self._pending: list[tuple[Key, float]] = []
        self._series: dict[Key, Histogram] = {}
        registry.register(self)

    def record(self, scope: Mapping[str, Any], status: int, seconds: float) -> None:
        self._pending.append(((scope["method"], template(scope), status), seconds))
        if len(self._pending) >= MOST_PENDING:
            self._count()

    def collect(self) -> Iterable[Metric]:
        self._count()
        return self._histogram.collect()

    def _count(self) -> None:
        """Many in a row take half the time."""
        pending, self._pending = self._pending, []
        for key, seconds in pending:
            series = self._series.get(key)
            if series is None:
                method, route, status = key
                known = method if method in METHODS else "other"
                series = self._series[key] = self._histogram.labels(known, route, status)
            series.observe(seconds)


DURATIONS = Durations(REGISTRY)


def template(scope: Mapping[str, Any]) -> str:
    """The declared route that a request met: never what the client sent."""
    declared: str | None = scope.get("route_template") or getattr(scope.get("route"), "path", None)
    return declared or scope["app"].templates.get(scope.get("endpoint"), "unmatched")
