"""Passes requests on: who may, where to, and only what is on the lists. Bodies are never looked into."""

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine, Mapping
from math import ceil
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.composition import HEADERS, Answer, Composer, no_parameters
from gateway.connection import Headers
from gateway.errors import BadAnswer, BrokenOff, Busy, SetAside, TooSlow, Unreachable
from gateway.instance import now
from gateway.limiter import Limiter
from gateway.packing import packed, takes_gzip
from gateway.passing import Passing
from gateway.routes import PREFIX, Composed, Routes, Side, Target
from gateway.streams import Streams
from gateway.upstream import Upstream
from infra.oidc import Verifier, authorize
from infra.web import Problem
from infra.web.context import RequestContext, current
from infra.web.edge import Exchange

log = logging.getLogger(__name__)

BODY_SECONDS = 20.0
PARTS_SECONDS = 2.0
CLOSE = {"connection": "close"}
JSON = b"application/json"
BEARER = b"Bearer "
COLON = b": ".join
HEAD = b"%b %b%b HTTP/1.1\r\nhost: %b\r\n%bx-request-id: %b\r\ntraceparent: %b\r\nx-request-timeout-ms: %d\r\n%b%b"
WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([1-9][0-9]{0,5})\"?\s*(?=$|[,;])")
ASYNC = re.compile(r"(?:^|,)\s*respond-async\s*(?=$|[,;])")
ONCE = frozenset({b"content-type", b"idempotency-key", b"last-event-id", b"authorization"})
REQUEST_HEADERS = ONCE | {b"accept", b"consistency-token", b"if-match", b"if-none-match", b"prefer"}
Where = Callable[[Scope], str]
Services = Mapping[tuple[str, Side], Upstream]


class Proxy:
    """Answers what lies under `/v1/<domain>/`; everything else is the inner application's."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Routes,
        services: Services,
        verifier: Verifier,
        limiter: Limiter,
        streams: Streams,
        where: Where,
    ) -> None:
        self._app, self._routes, self._services, self._verifier = app, routes, services, verifier
        self._limiter, self._streams, self._where, self._composer = limiter, streams, where, Composer(services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, notes = scope["raw_path"], scope.setdefault("answer_headers", [])
        if (passing := scope.pop("passing", None)) is not None:
            await self._forward(passing, send)
            return
        if not path.startswith(PREFIX):
            await self._count("stranger", self._where(scope), notes)
            await self._app(scope, receive, send)
            return
        target: Target | Composed | None = None
        try:
            target = self._found(scope)
            notes += target.notes(path)
            headers = passed_on(scope)
            identity = await authorize(authorization(scope), self._verifier, target.scope)
        except Problem:
            if target is None:
                notes += self._routes.notes(path)
            # What is refused before we know who asks is counted by address. Who has a token is not held up by others.
            await self._count("stranger", self._where(scope), notes)
            raise
        scope["actor"] = identity.subject
        await self._count(target.kind, identity.key, notes)
        if isinstance(target, Composed):
            no_parameters(scope["query_string"])
            found = await self._composer.answer(target, headers, identity, patience(scope, PARTS_SECONDS))
            await respond(send, scope, found)
            return
        body = b""
        if scope["method"] == "POST":
            check_content_type(scope)
            body = await (joined(receive) if "body_is_here" in scope else whole(receive))
        passing = self._passing(target, scope, headers, body, current())
        if target.endless:
            scope["endless"] = True
            with self._streams.opened(identity.key):
                await while_listened_to(receive, self._forward(passing, send))
        else:
            await self._forward(passing, send)

    def at_once(self, exchange: Exchange) -> Callable[[], None] | None:
        """Asks a service without a task, if there is nothing that must be waited for but its answer.

        That is so when the token is known, the quota is counted here and a connection is idle. What comes back hands
        the request over to a task. None: it needs one at once.
        """
        scope = exchange.scope
        path, token = scope["raw_path"], scope["sent"].get(b"authorization", b"")
        identity = self._verifier.known(token[7:]) if token[:7] == BEARER else None
        if identity is None or not path.startswith(PREFIX):
            return None
        try:
            target = self._routes.find(scope["method"], path)
            if isinstance(target, Composed) or target.endless or target.scope not in identity.scopes:
                return None
            if scope["method"] == "POST":
                check_content_type(scope)
            passing = self._passing(target, scope, passed_on(scope), exchange.cycle.body, exchange.context)
        except Problem:
            return None
        instance = passing.upstream.ready()
        verdict = self._limiter.take_here(target.kind, identity.key) if instance is not None else None
        if instance is None or verdict is None or not verdict.allowed:
            return None
        scope["route_template"], scope["actor"] = target.template, identity.subject
        if target.version.deprecated is not None:
            scope["answer_headers"] = [*scope.get("answer_headers", ()), *target.notes(path)]
        return passing.begin(exchange, instance, verdict)

    async def refused(self, scope: Scope) -> None:
        """Has what the edge refuses counted, and the answer say what every other would say at this address.

        Raises `Problem` 429.
        """
        notes = scope.setdefault("answer_headers", [])
        notes += self.notes(scope["raw_path"])
        await self._count("stranger", self._where(scope), notes)

    def notes(self, path: bytes) -> Headers:
        return self._routes.notes(path) if path.startswith(PREFIX) else []

    def _found(self, scope: Scope) -> Target | Composed:
        target = self._routes.find(scope["method"], scope["raw_path"])
        scope["route_template"] = target.template
        return target

    async def _count(self, kind: str, key: str, notes: Headers) -> None:
        """Raises `Problem` 429 when there was enough of it. The answer says what is left."""
        verdict = await self._limiter.take(kind, key)
        notes += verdict.headers
        if not verdict.allowed:
            raise verdict.refusal()

    def _passing(
        self, target: Target, scope: Scope, headers: Headers, body: bytes | bytearray, context: RequestContext
    ) -> Passing:
        """Raises `Problem` 503 when nothing is known of the service."""
        upstream = self._services.get((target.domain, target.side))
        if upstream is None:
            raise unavailable(f"no service is known for {target.domain} ({target.side} side)")
        seconds, sent = upstream.limits.answer_seconds, scope["sent"]
        repeatable = scope["method"] != "POST" or b"idempotency-key" in sent
        if b"prefer" in sent:
            seconds = patience(scope, seconds)
        request = written(scope, upstream.authority, headers, body, seconds, context)
        return Passing(scope, upstream, request, repeatable, target.endless, now() + seconds)

    async def _forward(self, passing: Passing, send: Send) -> None:
        try:
            await passing.relay(send)
        except Busy as error:
            raise Problem(503, "temporary-reduced-capacity", str(error), headers={"retry-after": "1"}) from None
        except SetAside as error:
            raise unavailable(str(error), error.seconds) from None
        except Unreachable as error:
            raise unavailable(str(error)) from None
        except TooSlow as error:
            raise Problem(504, "gateway-timeout", f"{error}; it may or may not have acted") from None
        except (BrokenOff, BadAnswer) as error:
            log.warning("no valid answer from %s: %s", passing.upstream.authority.decode(), error)
            detail = f"{error}; it may or may not have acted"
            raise Problem(502, "bad-gateway", detail, headers={"retry-after": "1"}) from None


def authorization(scope: Scope) -> list[str]:
    """It stands there once, as `passed_on` has seen to."""
    token = scope["sent"].get(b"authorization")
    return [] if token is None else [token.decode("latin-1")]


def passed_on(scope: Scope) -> Headers:
    """Those request headers that services see. Raises `Problem` 400 if one stands twice that may not."""
    headers = scope["headers"]
    kept = [header for header in headers if header[0] in REQUEST_HEADERS]
    if len(scope["sent"]) != len(headers):
        once = [name for name, _ in kept if name in ONCE]
        if once.count(b"idempotency-key") > 1:
            raise Problem(400, "invalid-idempotency-key", "a request has one key at most")
        if len(set(once)) != len(once):
            raise Problem(400, "bad-request", "a header that has one value stands twice")
    return kept


def check_content_type(scope: Scope) -> None:
    found = scope["sent"].get(b"content-type", b"")
    if found != JSON and found.partition(b";")[0].strip().lower() != JSON:
        raise Problem(415, "unsupported-media-type", "a command is sent as application/json")


async def whole(receive: Receive) -> bytes:
    """The body, which the edge has bounded. One that does not come to its end is not passed on."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await joined(receive)
    except TimeoutError:
        raise Problem(408, "request-timeout", "the body did not come to its end", headers=CLOSE) from None


async def joined(receive: Receive) -> bytes:
    found, more = list[bytes](), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "bad-request", "the body ended before it was complete")
        found.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(found)


def patience(scope: Scope, most: float) -> float:
    """For how many seconds the client waits: what it prefers (RFC 7240), if that is less than we do.

    One that asks for an answer later gets one in any case, so that its `wait` is the service's.
    """
    if b"prefer" not in scope["sent"]:
        return most
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"prefer"]
    preferred = ",".join(given).lower()
    found = WAIT.search(preferred)
    return min(float(found[1]), most) if found and ASYNC.search(preferred) is None else most


def written(  # noqa: PLR0917  # each is a part of it
    scope: Scope, authority: bytes, headers: Headers, body: bytes | bytearray, seconds: float, context: RequestContext
) -> bytes:
    """The request as the service gets it: the address byte for byte, our own ids, how long we wait, and a length.

    Services are asked with GET what was asked with HEAD, so that an answer always says itself where it ends.
    """
    query, post = scope["query_string"], scope["method"] == "POST"
    return HEAD % (
        b"POST" if post else b"GET",
        scope["raw_path"],
        b"?" + query if query else b"",
        authority,
        b"\r\n".join([*map(COLON, headers), b""]),
        context.request_id.encode(),
        context.traceparent.encode(),
        seconds * 1000,
        b"content-length: %d\r\n\r\n" % len(body) if post else b"\r\n",
        body if post else b"",  # without a length it would be another request
    )


async def while_listened_to(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Works until it is done, or until the client is gone."""
    working = asyncio.ensure_future(work)
    listening = asyncio.ensure_future(gone(receive))
    try:
        await asyncio.wait({working, listening}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        listening.cancel()
        working.cancel()
        await asyncio.gather(working, listening, return_exceptions=True)


async def gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def respond(send: Send, scope: Scope, found: Answer) -> None:
    """Sends an answer of our own, unless the client has it."""
    headers, body = [*HEADERS, (b"etag", found.tag), (b"vary", b"accept-encoding")], found.body
    tags = b",".join(value for name, value in scope["headers"] if name == b"if-none-match").split(b",")
    if {tag.strip().removeprefix(b"W/") for tag in tags} & {found.tag.removeprefix(b"W/"), b"*"}:
        await send({"type": "http.response.start", "status": 304, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    headers, body = packed(headers, body) if takes_gzip(scope["headers"]) else (headers, body)
    told = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": told})
    await send({"type": "http.response.body", "body": body})


def unavailable(detail: str, seconds: float = 1.0) -> Problem:
    return Problem(503, "service-unavailable", detail, headers={"retry-after": str(max(1, ceil(seconds)))})
