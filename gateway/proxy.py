"""Passes requests on: who may, where to, and only what is on the lists. Bodies are never looked into."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from math import ceil
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.composition import HEADERS, Composer
from gateway.connection import Connection, Headers
from gateway.errors import BadAnswer, BrokenOff, Busy, SetAside, TooSlow, Unreachable
from gateway.limiter import Limiter
from gateway.packing import packed, takes_gzip
from gateway.routes import PREFIX, Composed, Routes, Side, Target
from gateway.upstream import Upstream
from infra.oidc import Verifier, authorize
from infra.web import Problem
from infra.web.context import current

log = logging.getLogger(__name__)

BODY_SECONDS = 20.0
PARTS_SECONDS = 2.0
CLOSE = {"connection": "close"}
JSON = b"application/json"
WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([1-9][0-9]{0,5})\"?\s*(?=$|[,;])")
ASYNC = re.compile(r"(?:^|,)\s*respond-async\s*(?=$|[,;])")
ONCE = frozenset({b"content-type", b"idempotency-key", b"last-event-id", b"authorization"})
REQUEST_HEADERS = ONCE | {b"accept", b"consistency-token", b"if-match", b"if-none-match", b"prefer"}
ANSWER_HEADERS = frozenset(
    {
        *(b"content-type", b"etag", b"location", b"link", b"allow", b"cache-control", b"retry-after", b"vary"),
        *(
            b"consistency-token",
            b"data-age",
            b"data-position",
            b"data-parked",
            b"www-authenticate",
            b"preference-applied",
        ),
    }
)
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
        where: Where,
    ) -> None:
        self._app, self._routes, self._services, self._verifier = app, routes, services, verifier
        self._limiter, self._where, self._composer = limiter, where, Composer(services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not scope["raw_path"].startswith(PREFIX):
            await self._count("stranger", self._where(scope), scope)
            await self._app(scope, receive, send)
            return
        try:
            target = self._routes.find(scope["method"], scope["raw_path"])
            scope["route_template"] = target.template
            scope.setdefault("answer_headers", []).extend(target.notes(scope["raw_path"]))
            headers = passed_on(scope["headers"])
            identity = await authorize(values(headers, b"authorization"), self._verifier, target.scope)
        except Problem:
            # What is refused before we know who asks is counted by address. Who has a token is not held up by others.
            await self._count("stranger", self._where(scope), scope)
            raise
        scope["actor"] = identity.subject
        await self._count(target.kind, f"{identity.issuer} {identity.subject}", scope)
        if isinstance(target, Composed):
            found = await self._composer.answer(target, headers, identity, patience(headers, PARTS_SECONDS))
            await respond(send, found, gzip=takes_gzip(scope["headers"]))
            return
        body = b""
        if scope["method"] == "POST":
            check_content_type(headers)
            body = await whole(receive, here=scope.get("body_is_here", False))
        forwarding = self._forward(target, scope, headers, body, send)
        if target.endless:
            scope["endless"] = True
            await while_listened_to(receive, forwarding)
        else:
            await forwarding

    async def _count(self, kind: str, key: str, scope: Scope) -> None:
        """Raises `Problem` 429 when there was enough of it. The answer says what is left."""
        verdict = await self._limiter.take(kind, key)
        scope.setdefault("answer_headers", []).extend(verdict.headers)
        if not verdict.allowed:
            raise verdict.refusal()

    async def _forward(
        self, target: Target, scope: Scope, headers: list[tuple[bytes, bytes]], body: bytes, send: Send
    ) -> None:
        upstream = self._services.get((target.domain, target.side))
        if upstream is None:
            raise unavailable(f"no service is known for {target.domain} ({target.side} side)")
        repeatable = scope["method"] != "POST" or bool(values(headers, b"idempotency-key"))
        seconds = patience(headers, upstream.limits.answer_seconds)
        request = written(scope, upstream.authority, headers, body, seconds)
        try:
            async with upstream.exchange(
                request, repeatable=repeatable, seconds=seconds, endless=target.endless
            ) as connection:
                stall, wanted = upstream.limits.stall_seconds, scope["method"] != "HEAD"
                await relay(connection, send, stall, scope["headers"], endless=target.endless, body_wanted=wanted)
        except Busy as error:
            raise Problem(503, "temporary-reduced-capacity", str(error), headers={"retry-after": "1"}) from None
        except SetAside as error:
            raise unavailable(str(error), error.seconds) from None
        except Unreachable as error:
            raise unavailable(str(error)) from None
        except TooSlow as error:
            raise Problem(504, "gateway-timeout", f"{error}; it may or may not have acted") from None
        except (BrokenOff, BadAnswer) as error:
            log.warning("no valid answer from %s: %s", upstream.authority.decode(), error)
            detail = f"{error}; it may or may not have acted"
            raise Problem(502, "bad-gateway", detail, headers={"retry-after": "1"}) from None


def passed_on(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Those request headers that services see. Raises `Problem` 400 if one stands twice that may not."""
    kept = [header for header in headers if header[0] in REQUEST_HEADERS]
    if len(dict(kept)) != len(kept) and any(len(values(kept, name)) > 1 for name in ONCE):
        raise Problem(400, "bad-request", "a header that has one value stands twice")
    return kept


def values(headers: list[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name == wanted]


def check_content_type(headers: list[tuple[bytes, bytes]]) -> None:
    found = next((value for name, value in headers if name == b"content-type"), b"")
    if found.partition(b";")[0].strip().lower() != JSON:
        raise Problem(415, "unsupported-media-type", "a command is sent as application/json")


async def whole(receive: Receive, *, here: bool) -> bytes:
    """The body, which the edge has bounded. One that does not come to its end is not passed on."""
    if here:
        return await joined(receive)
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


def patience(headers: list[tuple[bytes, bytes]], most: float) -> float:
    """For how many seconds the client waits: what it prefers (RFC 7240), if that is less than we do.

    One that asks for an answer later gets one in any case, so that its `wait` is the service's.
    """
    preferred = ",".join(values(headers, b"prefer")).lower()
    if not preferred:
        return most
    found = WAIT.search(preferred)
    return min(float(found[1]), most) if found and ASYNC.search(preferred) is None else most


def written(scope: Scope, authority: bytes, headers: list[tuple[bytes, bytes]], body: bytes, seconds: float) -> bytes:
    """The request as the service gets it: the address byte for byte, our own ids, how long we wait, and a length.

    Services are asked with GET what was asked with HEAD, so that an answer always says itself where it ends.
    """
    context, query = current(), scope["query_string"]
    method = b"POST" if scope["method"] == "POST" else b"GET"
    target = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
    lines = [method + b" " + target + b" HTTP/1.1", b"host: " + authority]
    lines += [name + b": " + value for name, value in headers]
    lines.append(b"x-request-id: " + context.request_id.encode())
    lines.append(b"traceparent: " + context.traceparent.encode())
    lines.append(b"x-request-timeout-ms: %d" % (seconds * 1000))
    if scope["method"] == "POST":
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


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


async def relay(
    connection: Connection,
    send: Send,
    stall_seconds: float,
    asked: Headers,
    *,
    endless: bool = False,
    body_wanted: bool = True,
) -> None:
    """Hands the answer to the client: at once if it is complete, and packed if he takes that; else as it comes.

    When an `endless` one breaks off, that is its end: its client goes on elsewhere.
    """
    headers = [header for header in connection.headers if header[0] in ANSWER_HEADERS]
    body, complete = connection.take(), connection.complete
    goes_on = body_wanted and not complete
    if complete and connection.status == 200:
        headers.append((b"vary", b"accept-encoding"))
        headers, body = packed(headers, body) if takes_gzip(asked) else (headers, body)
    length = b"%d" % len(body) if complete else declared_length(connection)
    if length is not None and connection.status not in (204, 304):
        headers.append((b"content-length", length))
    await send({"type": "http.response.start", "status": connection.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": goes_on})
    if goes_on:
        try:
            async for part in connection.rest(stall_seconds):
                await within(stall_seconds, send({"type": "http.response.body", "body": part, "more_body": True}))
        except BrokenOff:
            if not endless:
                raise
        await send({"type": "http.response.body", "body": b""})


async def respond(send: Send, body: bytes, *, gzip: bool) -> None:
    """Sends an answer of our own."""
    headers, body = packed(HEADERS, body) if gzip else (HEADERS, body)
    told = [*headers, (b"vary", b"accept-encoding"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": told})
    await send({"type": "http.response.body", "body": body})


async def within(seconds: float, sending: Awaitable[None]) -> None:
    """Raises `TooSlow` if the client does not take it."""
    try:
        async with asyncio.timeout(seconds):
            await sending
    except TimeoutError:
        raise TooSlow("the client does not take the answer") from None


def declared_length(connection: Connection) -> bytes | None:
    return next((value for name, value in connection.headers if name == b"content-length"), None)


def unavailable(detail: str, seconds: float = 1.0) -> Problem:
    return Problem(503, "service-unavailable", detail, headers={"retry-after": str(max(1, ceil(seconds)))})
