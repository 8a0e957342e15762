"""The outermost layer of every service: ids in, problems out, limits, one log line, one measurement."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.telemetry import CONTEXT, RequestContext, begin
from infra.web.access import AccessLog, Durations
from infra.web.problems import Problem, instance_of

log = logging.getLogger(__name__)

LINGER_SECONDS = 2.0
LINGER_BYTES = 64 * 1024 * 1024
CLIENT_GONE = 499
CLOSE = {"connection": "close"}
Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a service takes, and from whom."""

    peers: frozenset[str] | None
    body_limit: int
    headers: tuple[tuple[bytes, bytes], ...]


class Edge:
    """Wraps an application. What leaves it is an answer with a request id, and a problem if it is an error."""

    def __init__(self, app: ASGIApp, rules: Rules, access: AccessLog | None) -> None:
        self._app, self._rules, self._access, self._durations = app, rules, access, Durations()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        sent = Sent(scope["headers"])
        # Only our own gateway may say how long it waits; others could make us give up what we have begun.
        patience = sent.timeout if self._rules.peers is not None else None
        deadline = asyncio.get_running_loop().time() + patience if patience is not None else None
        context = begin(sent.request_id, sent.traceparent, deadline)
        CONTEXT.set(context)
        exchange = Exchange(scope, receive, send, context, self._rules)
        try:
            await self._answer(exchange, sent)
        finally:
            seconds = perf_counter() - began
            self._durations.record(scope, exchange.status, seconds)
            if self._access is not None:
                self._access.record(scope, context, exchange.status, seconds)

    async def _answer(self, exchange: "Exchange", sent: "Sent") -> None:
        deadline = exchange.context.deadline
        limit = asyncio.timeout_at(deadline) if deadline is not None else None
        try:
            exchange.admit(sent)
            receive = exchange.bounded_receive if sent.chunked else exchange.receive
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


BROKEN = Problem(500, "internal-error", "something broke; the request id finds the log lines")
LATE = Problem(504, "gateway-timeout", "the caller has given up meanwhile; it may or may not have acted")
STOPPING = Problem(503, "service-unavailable", "the service stops", headers={"retry-after": "1", **CLOSE})


class Sent:
    """What the edge needs of a request's head, found in one pass."""

    __slots__ = ("chunked", "hosts", "length", "request_id", "timeout", "traceparent")

    def __init__(self, headers: Headers) -> None:
        self.request_id: str | None = None
        self.traceparent: str | None = None
        self.length = self.hosts = 0
        self.chunked = False
        self.timeout: float | None = None
        for name, value in headers:
            if name == b"x-request-id":
                self.request_id = value.decode("latin-1")
            elif name == b"traceparent":
                self.traceparent = value.decode("latin-1")
            elif name == b"content-length":
                self.length = int(value)
            elif name == b"transfer-encoding":
                self.chunked = True
            elif name == b"host":
                self.hosts += 1
            elif name == b"x-request-timeout-ms" and value.isdigit() and len(value) < 10:
                self.timeout = int(value) / 1000


class Exchange:
    """One request and its answer. `limit` ends what the caller no longer waits for; a beginning answer lifts it."""

    __slots__ = ("_rules", "_seen", "_send", "context", "limit", "receive", "scope", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send, context: RequestContext, rules: Rules) -> None:
        self.scope, self.receive, self.context, self.status = scope, receive, context, 0
        self._send, self._rules, self._seen = send, rules, 0
        self.limit: asyncio.Timeout | None = None

    def admit(self, sent: Sent) -> None:
        """Raises the problem of a request that is not even looked at."""
        peers = self._rules.peers
        if peers is not None and self.scope.get("peer") not in peers:
            raise Problem(403, "peer-not-allowed", "this certificate may not call here")
        if sent.hosts != 1 and self.scope["http_version"] != "1.0":
            raise Problem(400, "bad-request", "a request names its host once", headers=CLOSE)
        if sent.length > self._rules.body_limit:
            raise self._too_large()

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

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.limit is not None:
                self.limit.reschedule(None)
            own = (b"x-request-id", self.context.request_id.encode())
            more = self.scope.get("answer_headers", ())
            message["headers"] = [*message.get("headers", ()), *more, own, *self._rules.headers]
        await self._send(message)

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
