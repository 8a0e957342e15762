"""One line and one measurement for each request. Both are on the hot path, so they cost microseconds."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from json.encoder import encode_basestring_ascii as quoted
from time import gmtime, strftime, time

from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from starlette.types import Scope

from infra.logs import FLUSH_LINES, Lines
from infra.telemetry import RequestContext
from infra.web.address import Network, client_of, forwarded
from infra.web.readiness import READYZ

LONGEST_PATH = 512
LONGEST_AGENT = LONGEST_CHAIN = 200
MOST_CLIENTS = 4096
UNMATCHED = "unmatched"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NAME = "http_server_request_duration_seconds"
LABELS = ("http_request_method", "http_route", "http_response_status_code")
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BOUNDS = (*map(str, BUCKETS), "+Inf")

Key = tuple[str, str, int]
Answered = tuple[str, bytes, str | None, str | None, str, bytes | None, str, int, RequestContext, int, float, float]


class AccessLog:
    """Writes access lines to stderr, several at a time."""

    def __init__(self, service: str, proxies: Sequence[Network]) -> None:
        self._second, self._stamp, self._answered = 0, "", list[Answered]()
        self._lines, self._end = Lines(service), f',"ecs.version":"1.6.0","service":{{"name":"{service}"}}}}'
        self._proxies = tuple(proxies)

    def record(  # noqa: PLR0917  # each is a part of it
        self, scope: Scope, route: str, context: RequestContext, status: int, size: int, seconds: float
    ) -> None:
        if route == READYZ:
            return  # who asks that asks again every other second, and is told nothing new
        client = scope["client"]
        self._answered.append(
            (
                scope["method"],
                scope["raw_path"],
                scope.get("actor"),
                client[0] if client else None,
                forwarded(scope) if self._proxies else "",
                scope["sent"].get(b"user-agent"),
                route,
                size,
                context,
                status,
                seconds,
                time(),
            )
        )
        if len(self._answered) == 1:
            self._lines.add(self._all)
        elif len(self._answered) >= FLUSH_LINES:
            self.flush()

    def _all(self) -> str:
        """A line for each that was answered since this was called: many in a row take half the time."""
        answered, self._answered = self._answered, []
        return "\n".join([self._line(one) for one in answered])

    def _line(self, answered: Answered) -> str:
        method, raw_path, actor, host, told, agent, route, size, context, status, seconds, now = answered
        (request_id, trace, _), size = context, 0 if method == "HEAD" else size
        agent = agent and agent[:LONGEST_AGENT]
        # Nothing is kept that only a hostile client sends, or 4096 of them would hold as many heads in memory.
        who = whence if len(told) <= LONGEST_CHAIN else whence.__wrapped__
        path = quoted(raw_path[:LONGEST_PATH].decode("ascii", "replace"))
        if (second := int(now)) != self._second:
            self._second, self._stamp = second, strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
        # A serializer would first want all of this as objects, which costs three times as much.
        return (
            f'{{"@timestamp":"{self._stamp}.{int((now - second) * 1e6):06d}Z","log.level":"info",'
            f'"message":"{method} {path[1:-1]} {status}","log":{{"logger":"access"}},'
            f'"http":{{"request":{{"method":"{method}","id":"{request_id}"}},'
            f'"response":{{"status_code":{status},"body":{{"bytes":{size}}}}}}},"url":{{"path":{path}}}'
            f"{who(route, host, told, self._proxies, agent, actor)},"
            f'"event":{{"duration":{int(seconds * 1e9)}}},"milliseconds":{seconds * 1e3:.3f},'
            f'"trace":{{"id":"{trace[3:35]}"}},"span":{{"id":"{trace[36:52]}"}}{self._end}'
        )

    def flush(self) -> None:
        self._lines.flush()


@lru_cache(MOST_CLIENTS)
def whence(  # noqa: PLR0917  # each is a part of it
    route: str, host: str | None, told: str, proxies: tuple[Network, ...], agent: bytes | None, actor: str | None
) -> str:
    """What a line says of who asked, and by which route; those who ask again cost nothing."""
    user = f',"user":{{"id":{quoted(actor)}}}' if actor is not None else ""
    return f',"labels":{{"http_route":{quoted(route)}}}{client(host, told, proxies)}{user_agent(agent)}{user}'


def client(host: str | None, told: str, proxies: tuple[Network, ...]) -> str:
    """The client's address in a line."""
    found = client_of(host, told, proxies) if host is not None else None
    return f',"client":{{"ip":"{found}"}}' if found is not None else ""


def user_agent(sent: bytes | None) -> str:
    """What a client calls itself in a line."""
    if sent is None:
        return ""
    return f',"user_agent":{{"original":{quoted(sent.decode("latin-1"))}}}'


@dataclass(slots=True)
class Series:
    """Requests of one kind: how many took how long, and how many seconds all of them together."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0

    def cumulative(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus wants them, each with all that is below it."""
        return list(zip(BOUNDS, accumulate(self.counts), strict=True))


class Durations(Collector):
    """Measures requests per route template, so that what clients send cannot make new series.

    It counts itself: a histogram of the library would take a lock, and walk over its buckets, for each request.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._series: dict[Key, Series] = {}
        registry.register(self)

    def record(self, method: str, route: str, status: int, seconds: float) -> None:
        key = method if method in METHODS else "other", route, status
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series()
        series.counts[bisect_left(BUCKETS, seconds)] += 1
        series.seconds += seconds

    def collect(self) -> Iterable[Metric]:
        found = HistogramMetricFamily(NAME, "How long requests took, by route template", labels=LABELS)
        for (method, route, status), series in self._series.items():
            found.add_metric((method, route, str(status)), series.cumulative(), series.seconds)
        return [found]


DURATIONS = Durations(REGISTRY)


def route_of(scope: Scope) -> str:
    """The declared route that a request met: never what the client sent."""
    if told := scope.get("route_template"):
        return str(told)
    declared: str | None = getattr(scope.get("route"), "path", None)
    return declared or str(scope["app"].templates.get(scope.get("endpoint"), UNMATCHED))
