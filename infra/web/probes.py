"""What orchestrators and people ask a process about itself, on a port of its own."""

from collections.abc import Mapping

from fastapi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from infra.health import Health
from infra.web.app import NOSNIFF, Application, Endpoint
from infra.web.edge import Rules
from infra.web.problems import Problem
from infra.web.readiness import NO_STORE, READYZ, answer, readiness

BODY_LIMIT = 4096


def probes(health: Health, inside: Mapping[str, Endpoint]) -> Application:
    """`/livez`, `/readyz`, and `/metrics` for those who show a certificate of our authority.

    `inside` are addresses that a service answers to others of its kind by POST; each checks who asks.
    """
    app = Application("health", Rules(peers=None, body_limit=BODY_LIMIT, headers=(NOSNIFF,)), None)

    async def livez(_: Request) -> Response:
        if dead := health.deadly():
            return answer(503, {"status": "dead", "checks": dead})
        return answer(200, {"status": "alive"})

    async def metrics(request: Request) -> Response:
        if request.scope.get("peer") is None:
            raise Problem(403, "client-certificate-required", "metrics need a client certificate of this system")
        return Response(generate_latest(), headers=NO_STORE, media_type=CONTENT_TYPE_LATEST)

    for path, endpoint in (("/livez", livez), (READYZ, readiness(health)), ("/metrics", metrics)):
        app.add_route(path, endpoint, methods=["GET"])
    for path, answered in inside.items():
        app.add_route(path, answered, methods=["POST"])
    return app
