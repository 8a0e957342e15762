"""The outermost layer of every service: ids in, problems out, limits, one log line, one measurement."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from time import perf_counter, time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.telemetry import CONTEXT, RequestContext, begin
from infra.web.access import DURATIONS, AccessLog, route_of
from infra.web.cycle import Cycle, one_each
from infra.web.problems import BROKEN, Problem, instance_of

log = logging.getLogger(__name__)

LINGER_SECONDS = 2.0
LINGER_BYTES = 64 * 1024 * 1024
CLIENT_GONE = 499
LONGEST_PATIENCE = 10
CLOSE = {"connection": "close"}
Headers = Iterable[tuple[bytes, bytes]]
Direct = Callable[["Exchange"], Callable[[], None] | None]
Refused = Callable[[Scope], Awaitable[None]]
Notes = Callable[[bytes], Headers]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a service takes, and from whom."""

    peers: frozenset[str] | None
    body_limit: int
    headers: tuple[tuple[bytes, bytes], ...]


class Edge:
    """Wraps an application. What leaves it is an answer with a request id, and a problem if it is an error."""

    def __init__(self, app: ASGIApp, rules: Rules, access: AccessLog | None) -> None:
        self._app, self._rules, self._access = app, rules, access
        # Of peers it is judged who may ask, and how long.
        self._direct: Direct | None = getattr(app, "at_once", None) if rules.peers is None else None
        self._refused: Refused | None = getattr(app, "refused", None)
        self._notes: Notes | None = getattr(app, "notes", None)
        self._second, self._last = 0, b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange: Exchange = scope.pop("exchange", None) or self._begun(scope)
        exchange.receive, exchange.pass_on = receive, send
        CONTEXT.set(exchange.context)
        try:
            await self._answer(exchange)
        finally:
            self.ended(exchange)

    def at_once(self, cycle: Cycle) -> Callable[[], None] | None:
        """Takes over a request that is here as a whole, if the application can answer it without a task.

        What comes back hands it over to one. None: it needs one at once, as does all whose head leaves something open.
        """
        scope = cycle.scope
        sent = scope["sent"]
        if self._direct is None or len(cycle.body) > self._rules.body_limit:
            return None
        if b"host" not in sent or len(sent) != len(scope["headers"]):
            return None
        context = begin(text(sent.get(b"x-request-id")), text(sent.get(b"traceparent")))
        exchange = scope["exchange"] = Exchange(scope, context, self._rules, self)
        exchange.cycle = cycle
        return self._direct(exchange)

    def notes(self, raw_path: bytes) -> list[tuple[bytes, bytes]]:
        """What every answer at an address says, for one that has no exchange."""
        return [*(self._notes(raw_path) if self._notes else ()), *self._rules.headers]

    def ended(self, exchange: "Exchange") -> None:
        seconds, scope, status = perf_counter() - exchange.began, exchange.scope, exchange.status
        route = scope.get("route_template") or route_of(scope)
        DURATIONS.record(scope["method"], route, status, seconds)
        if self._access is not None:
            self._access.record(scope, route, exchange.context, status, exchange.size, seconds)

    @property
    def last(self) -> bytes:
        """The headers that all answers of this second end with, written out."""
        if (second := int(time())) != self._second:
            self._second, self._last = second, one_each([dated(second), *self._rules.headers])
        return self._last

    def _begun(self, scope: Scope) -> "Exchange":
        sent, deadline = scope["sent"], None
        # Only our own gateway may say how long it waits; others could make us give up what we have begun.
        if self._rules.peers is not None:
            patience = sent.get(b"x-request-timeout-ms", b"")
            if patience.isdigit() and len(patience) < LONGEST_PATIENCE:
                deadline = asyncio.get_running_loop().time() + int(patience) / 1000
        context = begin(text(sent.get(b"x-request-id")), text(sent.get(b"traceparent")), deadline)
        return Exchange(scope, context, self._rules, self)

    async def _admit(self, exchange: "Exchange") -> None:
        """Raises the problem of a request that the application never sees, except that it may say something of it."""
        try:
            exchange.admit()
        except Problem:
            if self._refused is not None:
                await self._refused(exchange.scope)
            raise

    async def _answer(self, exchange: "Exchange") -> None:
        deadline = exchange.context.deadline
        limit = asyncio.timeout_at(deadline) if deadline is not None else None
        try:
            await self._admit(exchange)
            receive = exchange.bounded_receive if b"transfer-encoding" in exchange.scope["sent"] else exchange.receive
            if limit is None:
                await self._app(exchange.scope, receive, exchange.send)
            else:
                async with limit:
                    exchange.limit = limit
                    await self._app(exchange.scope, receive, exchange.send)
        except Problem as problem:
            await exchange.refuse(problem)
        except ClientDisconnect:
            exchange.status = exchange.status or CLIENT_GONE
        except asyncio.CancelledError:
            await exchange.refuse(STOPPING)
            raise
        except Exception as error:
            if limit is not None and isinstance(error, TimeoutError) and limit.expired():
                await exchange.refuse(LATE)
                return
            log.exception("an error that nobody expected")
            await exchange.refuse(BROKEN)


LATE = Problem(504, "gateway-timeout", "the caller has given up meanwhile; it may or may not have acted")
STOPPING = Problem(503, "service-unavailable", "the service stops", headers={"retry-after": "1", **CLOSE})


def text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


@lru_cache(maxsize=1)
def dated(seconds: int) -> tuple[bytes, bytes]:
    """When an answer was made (RFC 9110, section 6.6.1)."""
    return b"date", formatdate(seconds, usegmt=True).encode()


class Exchange:
    """One request and its answer, whose body has `size` bytes.

    `limit` ends what the caller no longer waits for; a beginning answer lifts it.
    """

    __slots__ = (
        *("_edge", "_rules", "_seen", "began", "context", "cycle", "limit", "pass_on", "receive"),
        *("scope", "size", "status"),
    )
    cycle: Cycle
    receive: Receive
    pass_on: Send

    def __init__(self, scope: Scope, context: RequestContext, rules: Rules, edge: Edge) -> None:
        self.began, self.scope, self.context, self.status = perf_counter(), scope, context, 0
        self._rules, self._edge, self._seen, self.size = rules, edge, 0, 0
        self.limit: asyncio.Timeout | None = None

    def admit(self) -> None:
        """Raises the problem of a request that is not even looked at."""
        scope, rules = self.scope, self._rules
        sent, headers = scope["sent"], scope["headers"]
        if rules.peers is not None and scope.get("peer") not in rules.peers:
            raise Problem(403, "peer-not-allowed", "this certificate may not call here")
        hosts = b"host" in sent and (len(sent) == len(headers) or sum(name == b"host" for name, _ in headers))
        if hosts != 1 and scope["http_version"] != "1.0":
            raise Problem(400, "bad-request", "a request names its host once", headers=CLOSE)
        if int(sent.get(b"content-length", 0)) > rules.body_limit:
            raise self._too_large()

    def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, told: bytes) -> None:
        """The whole answer to a request that has no task; `told` are headers that are written out already."""
        self.status, self.size, scope = status, len(body), self.scope
        del scope["exchange"]  # or it would be garbage that only the collector finds
        if "answer_headers" in scope:
            headers += scope["answer_headers"]
        more = b"%bx-request-id: %b\r\n%b" % (told, self.context.request_id.encode(), self._edge.last)
        try:
            self.cycle.respond(status, headers, body, more)
        except RuntimeError:
            log.exception("an answer could not be sent")
            self.cycle.transport.close()
        self._edge.ended(self)

    def _head(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        own = (b"x-request-id", self.context.request_id.encode())
        return [*headers, *self.scope.get("answer_headers", ()), own, dated(int(time())), *self._rules.headers]

    def _too_large(self) -> Problem:
        return Problem(
            413,
            "content-too-large",
            f"a body here has at most {self._rules.body_limit} bytes",
            headers=CLOSE,
        )

    async def bounded_receive(self) -> Message:
        message = await self.receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self._rules.body_limit:
            raise self._too_large()
        return message

    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.limit is not None:
                self.limit.reschedule(None)
            message["headers"] = self._head(message.get("headers", ()))
        elif "body" in message:
            self.size += len(message["body"])
        return self.pass_on(message)

    async def refuse(self, problem: Problem) -> None:
        """Answers with a problem. An answer that has begun is broken off: the server closes the connection."""
        self.limit = None
        if self.status:
            return
        body = problem.body(instance_of(self.scope))
        start = {"type": "http.response.start", "status": problem.status_code, "headers": problem.head(len(body))}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body, "more_body": True})
        if problem.status_code == 413:
            await self._linger()
        await self.send({"type": "http.response.body", "body": b""})

    async def _linger(self) -> None:
        """Reads on for a moment: closing at once would take the answer from a client that still sends."""
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while left > 0:
                    message = await self.receive()
                    left -= len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        return
        except TimeoutError:
            return
