"""Pages of other origins: closed, unless an origin is configured. Tokens travel in a header, so no credentials."""

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

ALLOWED = (
    b"authorization, consistency-token, content-type, idempotency-key, if-match, if-none-match, last-event-id, prefer, "
    b"traceparent, x-request-id"
)
EXPOSED = (
    b"consistency-token, data-age, data-position, etag, link, location, preference-applied, ratelimit, "
    b"ratelimit-policy, retry-after, x-request-id"
)
PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (b"access-control-allow-headers", ALLOWED),
    (b"access-control-max-age", b"600"),
]


class Cors:
    """Says to browsers which origins may ask, on every answer, problems included."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app, self._origins = app, frozenset(origin.rstrip("/").encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._origins:
            await self._app(scope, receive, send)
            return
        told = scope.setdefault("answer_headers", [])
        told.append((b"vary", b"origin"))
        sent = dict(scope["headers"])
        origin = sent.get(b"origin")
        if origin in self._origins:
            told += [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED)]
            if scope["method"] == "OPTIONS" and b"access-control-request-method" in sent:
                scope["route_template"] = "preflight"
                await send({"type": "http.response.start", "status": 204, "headers": PREFLIGHT})
                await send({"type": "http.response.body", "body": b""})
                return
        await self._app(scope, receive, send)
