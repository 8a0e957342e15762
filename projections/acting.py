"""The doors for people who look after a projection: they come by console or gateway, each with a token of his own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import orjson
from fastapi import Request, Response
from pydantic import BaseModel, ValidationError

from domains.admin import PROJECTIONS, Retrying, Skipping
from domains.kernel import Domain
from infra.oidc import Identity, Verifier, identify
from infra.plan import CONSOLE
from infra.web import Application, Problem, invalid
from projections.errors import NotParked, ReadUnavailable
from projections.parking import Spot
from projections.plan import CONSOLE_WRITE
from projections.retry import Retried, Retry
from projections.rows import AnyView

Act = Callable[[Request, AnyView, Identity], Awaitable[Response]]
B = TypeVar("B", bound=BaseModel)
CALLERS = frozenset({"gateway", CONSOLE})


def acts(app: Application, domain: Domain, verifier: Verifier, verb: str, act: Act) -> None:
    """Adds a verb of all views: for the console and, if the domain declares the verb, for the gateway."""
    scopes = {CONSOLE: CONSOLE_WRITE, "gateway": domain.admin.get(verb)}

    async def endpoint(request: Request) -> Response:
        if (scope := scopes.get(request.scope["peer"])) is None:
            raise Problem(403, "peer-not-allowed", "this certificate may not ask for that")
        identity = await identify(request, verifier, scope)
        if domain.version(request.path_params["version"]) is None:
            raise Problem(404, "not-found", "there is nothing at this address")
        view = domain.view(request.path_params["view"])
        if view is None:
            raise Problem(404, "unknown-view", f"{domain.name} has no view of that name")
        return await act(request, view, identity)

    app.add_route(f"/v{{version:int}}/{domain.name}/{PROJECTIONS}/{{view}}/{verb}", endpoint, methods=["POST"])


async def body(request: Request, kind: type[B]) -> B:
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        raise invalid(error) from None


def spot(asked: Retrying) -> Spot:
    return Spot(asked.key, asked.of_stream)


class Care:
    """Retries and skips, one at a time: they share a connection."""

    def __init__(self, retry: Retry) -> None:
        self._retry, self._alone = retry, asyncio.Lock()

    def add(self, app: Application, domain: Domain, verifier: Verifier) -> None:
        acts(app, domain, verifier, "retry", self.retry)
        acts(app, domain, verifier, "skip", self.skip)

    async def retry(self, request: Request, view: AnyView, _: Identity) -> Response:
        asked = await body(request, Retrying)
        async with self._acting():
            return outcome(await self._retry.retry(view, spot(asked)))

    async def skip(self, request: Request, view: AnyView, identity: Identity) -> Response:
        asked = await body(request, Skipping)
        async with self._acting():
            _, left = await self._retry.skip(view, spot(asked), identity.subject, asked.why, asked.position)
        return outcome(left)

    @asynccontextmanager
    async def _acting(self) -> AsyncIterator[None]:
        async with self._alone:
            try:
                yield
            except NotParked as error:
                raise Problem(404, "not-parked", str(error)) from None
            except ReadUnavailable as error:
                raise Problem(503, "views-unavailable", str(error), headers={"retry-after": "1"}) from None


def outcome(done: Retried) -> Response:
    left = done.left
    told = {"folded": done.events, "left": left.events if left else 0, "error": left.error if left else None}
    return Response(orjson.dumps(told), 200, {"cache-control": "no-store"}, "application/json")
