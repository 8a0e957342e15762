"""The doors for people who look after a projection: they act through the console, each with a token of his own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar

import orjson
from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

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


class Retrying(BaseModel):
    """A spot of what is parked."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    of_stream: bool = False

    @property
    def spot(self) -> Spot:
        return Spot(self.key, self.of_stream)


class Skipping(Retrying):
    """A spot whose failing event is taken out for good, and why that may be."""

    why: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=500)]


def acts(app: Application, domain: Domain, verifier: Verifier, verb: str, act: Act) -> None:
    """Adds `POST /projections/{view}/<verb>`, for the console and whoever may act."""

    async def endpoint(request: Request) -> Response:
        if request.scope.get("peer") != CONSOLE:
            raise Problem(403, "peer-not-allowed", "only the console asks here")
        identity = await identify(request, verifier, CONSOLE_WRITE)
        view = domain.view(request.path_params["view"])
        if view is None:
            raise Problem(404, "unknown-view", f"{domain.name} has no view of that name")
        return await act(request, view, identity)

    app.add_route(f"/projections/{{view}}/{verb}", endpoint, methods=["POST"])


async def body(request: Request, kind: type[B]) -> B:
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        raise invalid(error) from None


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
            return outcome(await self._retry.retry(view, asked.spot))

    async def skip(self, request: Request, view: AnyView, identity: Identity) -> Response:
        asked = await body(request, Skipping)
        async with self._acting():
            _, left = await self._retry.skip(view, asked.spot, identity.subject, asked.why)
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
