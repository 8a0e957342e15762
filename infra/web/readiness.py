"""Whether a process can do its work now, as it says itself: to orchestrators on one port, to its callers on another."""

from collections.abc import Awaitable, Callable

import orjson
from fastapi import Request, Response

from infra.health import Health

READYZ = "/readyz"
NO_STORE = {"cache-control": "no-store"}


def readiness(health: Health) -> Callable[[Request], Awaitable[Response]]:
    """What answers `/readyz`: 200, or 503 with each check that is not well."""

    async def readyz(_: Request) -> Response:
        reasons = health.reasons()
        ready = not any(reasons.values())
        checks = {name: reason or "ok" for name, reason in reasons.items()}
        return answer(200 if ready else 503, {"status": "ready" if ready else "not ready", "checks": checks})

    return readyz


def answer(status: int, content: dict[str, object]) -> Response:
    return Response(orjson.dumps(content), status, NO_STORE, "application/json")
