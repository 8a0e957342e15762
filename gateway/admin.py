"""The door for operators, on a port of its own: what domains declare for them, and what the gateway knows of itself."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

import orjson
from fastapi import Request, Response
from starlette.types import ASGIApp

from domains.kernel import Domain
from gateway import admin_openapi, pages
from gateway.kept import Kept
from gateway.limiter import Limiter
from gateway.plan import GATEWAY_ADMIN
from gateway.proxy import Services
from gateway.routes import Routes
from infra.health import Health
from infra.oidc import Verifier, identify
from infra.settings import Settings
from infra.web import Application, application

BODY_LIMIT = 16 * 1024
NO_STORE = {"cache-control": "no-store"}


def admin_door(
    settings: Settings,
    health: Health,
    domains: Mapping[str, Domain],
    *,
    proxied: Callable[..., ASGIApp],
    services: Services,
    verifier: Verifier,
    limiter: Limiter,
) -> Application:
    """The application of the port for operators; `proxied` passes on what the routes that it is given find."""
    public, verbs = Routes(domains), Routes(domains, admin=True)

    def before(app: ASGIApp) -> ASGIApp:
        return proxied(app, routes=verbs)

    app = application("Headrace admin", settings, health, peers=None, body_limit=BODY_LIMIT, before=before)

    def state(name: str, tell: Callable[[], list[dict[str, object]]]) -> None:
        async def endpoint(request: Request) -> Response:
            await identify(request, verifier, GATEWAY_ADMIN)
            return Response(orjson.dumps({name: tell()}), headers=NO_STORE, media_type="application/json")

        app.add_route(f"/{name}", endpoint, methods=["GET"])

    state("routes", lambda: [*routes(public, "public"), *routes(verbs, "admin")])
    state("upstreams", lambda: list(upstreams(services)))
    state("quotas", lambda: list(limiter.used()))
    described = Kept(orjson.dumps(admin_openapi.document(domains)), "application/json")

    async def document(request: Request) -> Response:
        return await described.answer(request)

    app.add_route("/openapi.json", document, methods=["GET"])
    pages.add(app)
    return app


def routes(known: Routes, port: str) -> Iterator[dict[str, object]]:
    """Where requests go."""
    for method, target in known.each():
        yield {
            "port": port,
            "method": method,
            "address": target.template,
            "service": f"{target.domain}-{target.side}",
            "scope": target.scope,
            "counts_as": target.kind,
            "deprecated": stamp(target.version.deprecated),
            "sunset": stamp(target.version.sunset),
        }


def upstreams(services: Services) -> Iterator[dict[str, object]]:
    """The services, and how each of their instances does that was found."""
    for (domain, side), upstream in services.items():
        yield {"service": f"{domain}-{side}", "addresses": upstream.addresses, "instances": upstream.instances}


def stamp(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
