"""Pages of other origins: closed, unless an origin is configured. Tokens travel in a header, so no credentials."""

from collections.abc import Callable, Sequence

from starlette.types import Receive, Scope, Send

from gateway.connection import Headers
from gateway.proxy import Proxy
from infra.web.edge import Exchange

ALLOWED = (
    b"authorization, consistency-token, content-type, idempotency-key, if-match, if-none-match, last-event-id, prefer, "
    b"traceparent, x-request-id"
)
EXPOSED = (
    b"allow, consistency-token, data-age, data-parked, data-position, date, deprecation, etag, link, location, "
    b"preference-applied, ratelimit, ratelimit-policy, retry-after, sunset, www-authenticate, x-request-id"
)
VARY = (b"vary", b"origin")
PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (b"access-control-allow-headers", ALLOWED),
    (b"access-control-max-age", b"600"),
]


class Cors:
    """Says to browsers which origins may ask, on every answer, problems included."""

    def __init__(self, app: Proxy, origins: Sequence[str]) -> None:
        self._app, self._origins = app, frozenset(origin.rstrip("/").encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "passing" in scope:
            await self._app(scope, receive, send)
            return
        allowed, told = self._tell(scope), scope["answer_headers"]
        if allowed and scope["method"] == "OPTIONS" and b"access-control-request-method" in scope["sent"]:
            scope["route_template"] = "preflight"
            told += self._app.notes(scope["raw_path"])
            await send({"type": "http.response.start", "status": 204, "headers": PREFLIGHT})
            await send({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, receive, send)

    async def refused(self, scope: Scope) -> None:
        """As `Proxy.refused`; a page may read why it was refused."""
        self._tell(scope)
        await self._app.refused(scope)

    def notes(self, path: bytes) -> Headers:
        """As `Proxy.notes`."""
        return [VARY, *self._app.notes(path)]

    def _tell(self, scope: Scope) -> bool:
        """Whether the origin is one that may ask; the answer will say so."""
        told, origin = scope.setdefault("answer_headers", []), scope["sent"].get(b"origin")
        told.append(VARY)
        if origin not in self._origins:
            return False
        told += [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED)]
        return True

    def at_once(self, exchange: Exchange) -> Callable[[], None] | None:
        """As `Proxy.at_once`, for those who name no origin."""
        scope = exchange.scope
        if b"origin" in scope["sent"]:
            return None
        scope["answer_headers"] = [VARY]
        hand_over = self._app.at_once(exchange)
        if hand_over is None and "passing" not in scope:
            del scope["answer_headers"]
        return hand_over
