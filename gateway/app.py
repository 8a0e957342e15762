"""The front door of every domain. It knows no domain: it reads the declarations."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from itertools import product

import orjson
from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp

from domains.admin import CERTIFICATES
from domains.kernel import Domain
from gateway import docs, pages
from gateway.admin import admin_door
from gateway.cors import Cors
from gateway.documents import WHOLE, described
from gateway.instance import Limits
from gateway.kept import Kept
from gateway.limiter import PATH, Limiter, quotas
from gateway.peers import Peers
from gateway.proxy import Proxy, Services
from gateway.readiness import Watch
from gateway.routes import SIDES, Routes, Side
from gateway.streams import Streams
from gateway.upstream import Upstream
from infra.beside import beside
from infra.health import Health
from infra.oidc import Verifier
from infra.settings import Settings
from infra.web import Application, Problem, application, tls
from infra.web.address import address_of

log = logging.getLogger(__name__)

BODY_LIMIT = 512 * 1024


def gateway(
    settings: Settings, health: Health, domains: Mapping[str, Domain], limits: Limits | None = None
) -> Application:
    """The gateway of these domains; `settings.services` says where each answers."""
    limits = limits or Limits()
    services, verifier = known_services(settings, domains, limits), Verifier(settings)
    peers = Peers(settings)
    limiter, streams = Limiter(quotas(settings), peers), Streams(limits.streams_each)
    health.check("issuer", verifier.unready)
    health.check("services", lambda: None if services else "no service has an address")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await peers.find()
        try:
            watches = {f"readiness of {one.authority.decode()}": Watch(one).run() for one in services.values()}
            async with beside(
                health,
                {"issuer keys": verifier.load_as_soon_as_possible(), "gateway processes": peers.look(), **watches},
            ):
                yield
        finally:
            peers.close()
            for service in services.values():
                await service.close()

    where = partial(address_of, proxies=settings.proxies)
    proxied = partial(
        Proxy,
        routes=Routes(domains),
        services=services,
        verifier=verifier,
        limiter=limiter,
        streams=streams,
        where=where,
    )

    def before(app: ASGIApp) -> ASGIApp:
        return Cors(proxied(app), settings.origins) if settings.origins else proxied(app)

    app = application("Headrace", settings, health, peers=None, body_limit=BODY_LIMIT, lifespan=lifespan, before=before)
    app.inside[PATH] = limiter.answer
    app.admin = admin_door(
        settings, health, domains, proxied=proxied, services=services, verifier=verifier, limiter=limiter
    )
    documents = described(domains)
    kept = {name: Kept(one, "application/json") for name, one in documents.items()}
    listed = Kept(orjson.dumps(overview(domains)), "application/json")

    async def document(request: Request) -> Response:
        found = kept.get(request.path_params.get("name", WHOLE))
        if found is None:
            raise Problem(404, "not-found", "there is no document of this name")
        return await found.answer(request)

    async def versions(request: Request) -> Response:
        return await listed.answer(request)

    app.add_route("/openapi.json", document, methods=["GET"])
    app.add_route("/documents/{name}.json", document, methods=["GET"])
    docs.add(app, documents)
    app.add_route("/v1", versions, methods=["GET"])
    pages.add(app)
    return app


def known_services(settings: Settings, domains: Mapping[str, Domain], limits: Limits) -> Services:
    """The services of the domains that exist. Each must prove its name, wherever it is."""
    context, services = tls.client(settings), dict[tuple[str, Side], Upstream]()
    for domain, side in product(domains, SIDES):
        addresses = settings.services.get(domain, {}).get(side)
        if not addresses:
            # One domain that is not deployed must not take the others from the air.
            log.warning("no address is known for %s-%s", domain, side)
        else:
            services[domain, side] = Upstream(addresses, CERTIFICATES[side].format(domain), context, limits)
    return services


def overview(domains: Mapping[str, Domain]) -> dict[str, object]:
    """What can be asked, in short."""
    return {
        "domains": {
            name: {"commands": sorted(domain.commands), "views": sorted(view.name for view in domain.views)}
            for name, domain in domains.items()
        }
    }
