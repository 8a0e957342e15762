"""The application that every service is built on."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.telemetry import TelemetryConfig
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.health import Health
from infra.settings import Settings
from infra.web.access import AccessLog
from infra.web.cycle import Cycle
from infra.web.edge import Edge, Rules
from infra.web.problems import install
from infra.web.readiness import READYZ, readiness

NOSNIFF = (b"x-content-type-options", b"nosniff")
HSTS = (b"strict-transport-security", b"max-age=31536000")


class Lifespan(Protocol):
    def __call__(self, app: FastAPI, /) -> AbstractAsyncContextManager[None]: ...


# Traces and measurements are the edge's; FastAPI's own would look for a provider at each request.
OURS: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
Layer = Callable[[ASGIApp], ASGIApp]
Endpoint = Callable[[Request], Awaitable[Response]]


class Application(FastAPI):
    """A FastAPI application whose outermost layer is the edge.

    What stands in `inside` is answered on the port of its health, where others of our own show their certificates.
    `admin` is answered on the port for operators, where there is one.
    """

    def __init__(
        self, title: str, rules: Rules, access: AccessLog | None, before: Layer | None = None, **more: Any
    ) -> None:
        off: dict[str, Any] = {"openapi_url": None, "docs_url": None, "redoc_url": None, "redirect_slashes": False}
        super().__init__(title=title, telemetry=OURS, **off, **more)
        self.rules, self.access, self._before = rules, access, before
        self.templates: dict[Any, str] = {}
        self.inside: dict[str, Endpoint] = {}
        self.admin: Application | None = None
        install(self)

    def add_route(self, path: str, route: Any, *arguments: Any, **more: Any) -> None:
        # FastAPI tells nobody which plain route was met, but which endpoint.
        self.templates[route] = path
        super().add_route(path, route, *arguments, **more)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override]
        # FastAPI would ask its telemetry, which is off, at each request.
        scope["app"] = self
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        return self.middleware_stack(scope, receive, send)

    @property
    def at_once(self) -> Callable[[Cycle], Callable[[], None] | None]:
        """The edge's, which is asked for once per connection."""
        return self._edge.at_once

    def notes(self, raw_path: bytes) -> list[tuple[bytes, bytes]]:
        """What every answer at an address says, whatever was asked."""
        return self._edge.notes(raw_path)

    @property
    def _edge(self) -> Edge:
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        assert isinstance(self.middleware_stack, Edge)  # noqa: S101  # it was built here
        return self.middleware_stack

    def build_middleware_stack(self) -> ASGIApp:
        stack = super().build_middleware_stack()
        assert isinstance(stack, ServerErrorMiddleware)  # noqa: S101  # the edge takes its place
        inner = self._before(stack.app) if self._before else stack.app
        return Edge(inner, self.rules, self.access)


def application(
    title: str,
    settings: Settings,
    health: Health,
    *,
    peers: frozenset[str] | None,
    body_limit: int,
    lifespan: Lifespan | None = None,
    before: Layer | None = None,
) -> Application:
    """A service with request ids, problems, limits, access log and measurements.

    `peers` are the certificate names that may call it, and ask whether it is ready; None: anybody, without a client
    certificate, and nobody asks that here.
    `health` says so while the service starts and while it stops. `before` is a layer between the edge and the routes.
    """
    health.check("service", lambda: "starting")
    headers = (NOSNIFF,) if peers is not None else (NOSNIFF, HSTS)
    rules, access = Rules(peers, body_limit, headers), AccessLog(settings.principal, settings.proxies)
    app = Application(title, rules, access, before, lifespan=lifespan)
    if peers is not None:
        app.add_route(READYZ, readiness(health), methods=["GET"])
    return app
