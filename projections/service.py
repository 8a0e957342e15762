"""The read side's door: queries over HTTP."""

import base64
import binascii
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel, TypeAdapter, ValidationError

from domains.access import NOBODY, bound_to
from domains.kernel import Domain, Row
from domains.opening import bodies
from eventstore.errors import KeyMissing, SealBroken, StoreUnavailable
from eventstore.personal.keys import Keys
from infra import consistency
from infra.health import Health
from infra.kafka import partition_of
from infra.oidc import Verifier, identify
from infra.settings import Settings
from infra.web import Application, Problem, application
from projections.errors import ReadUnavailable
from projections.rows import AnyView
from projections.views import Progress, Views

GATEWAY = frozenset({"gateway"})
BODY_LIMIT = 1024
LIMIT, LARGEST_LIMIT = 50, 500
LONGEST_KEY = 256
WAIT_SECONDS = 5.0
JSON = "application/json"


def read_side(
    domain: Domain, views: Views, settings: Settings, health: Health, verifier: Verifier, *, keys: Keys | None
) -> Application:
    """The application of one domain's queries; only the gateway may call it."""
    app = application(f"{domain.name} read side", settings, health, peers=GATEWAY, body_limit=BODY_LIMIT)
    queries = Queries(domain, views, keys)

    async def one(request: Request) -> Response:
        return await answered(queries.one(request, verifier))

    async def page(request: Request) -> Response:
        return await answered(queries.page(request, verifier))

    app.add_route(f"/v{{version:int}}/{domain.name}/{{view}}/{{key}}", one, methods=["GET"])
    app.add_route(f"/v{{version:int}}/{domain.name}/{{view}}", page, methods=["GET"])
    return app


async def answered(answer: Any) -> Response:
    try:
        response: Response = await answer
    except (KeyMissing, SealBroken) as error:
        slug = "key-missing" if isinstance(error, KeyMissing) else "internal-error"
        raise Problem(500, slug, "a text about a person can't be opened") from error
    except (ReadUnavailable, StoreUnavailable):
        wait = {"retry-after": "1"}
        raise Problem(503, "views-unavailable", "the views can't be read now", headers=wait) from None
    return response


class Queries:
    """What can be asked, and what it needs to be asked well."""

    def __init__(self, domain: Domain, views: Views, keys: Keys | None) -> None:
        self._domain, self._views, self._keys = domain, views, keys

    async def one(self, request: Request, verifier: Verifier) -> Response:
        view, owner = await self._view(request, verifier)
        key = request.path_params["key"]
        if not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
            raise Problem(422, "invalid-key", f"a key has 1 to {LONGEST_KEY} printable characters")
        only(request, ())
        progress = await self._wait(request)
        row, parked = await self._views.one(view, key), await self._parked(view, key, progress)
        if row is None or not owned(view, row, owner):
            told = aged(progress) | (parked if owner is None else {})
            raise Problem(404, "unknown-key", f"{view.name} has no row for this key", headers=told)
        [body] = await bodies([self._shown(request, view, row)], self._keys)
        response = self._response(request, body, progress)
        response.headers.update(parked)
        return response

    async def page(self, request: Request, verifier: Verifier) -> Response:
        view, owner = await self._view(request, verifier)
        only(request, ("limit", "cursor", *view.filters))
        limit, after, filters = size(request), behind(request, view), equal(request, view)
        if owner is not None and view.owner is not None:
            if filters.get(view.owner, owner) != owner:
                raise not_yours()
            filters = {**filters, view.owner: owner}
        progress = await self._wait(request)
        rows = await self._views.page(view, filters, after, limit + 1)
        more = len(rows) > limit
        shown = [self._shown(request, view, row) for row in rows[:limit]]
        items = b",".join(await bodies(shown, self._keys))
        following = f'"{cursor(view, rows[limit - 1])}"' if more else "null"
        return self._response(request, b'{"items":[' + items + b'],"next":' + following.encode() + b"}", progress)

    async def _parked(self, view: AnyView, key: str, progress: Progress) -> dict[str, str]:
        """Says that events wait before a row, and from which position on."""
        position = await self._views.parked(view, key) if progress.parked else None
        return {} if position is None else {"data-parked": str(position)}

    async def _view(self, request: Request, verifier: Verifier) -> tuple[AnyView, str | None]:
        """The view that is asked for, and whose rows the caller may see; None: anybody's."""
        name = request.path_params["view"]
        owner = bound_to(self._domain, await identify(request, verifier, self._domain.view_scope(name)))
        view = self._domain.view(name)
        if view is None or self._domain.version(request.path_params["version"]) is None:
            raise Problem(404, "unknown-view", f"{self._domain.name} has no view of that name")
        if owner == NOBODY or (owner is not None and view.owner is None):
            raise not_yours()
        return view, owner

    def _shown(self, request: Request, view: AnyView, row: Row) -> BaseModel:
        version = self._domain.version(request.path_params["version"])
        assert version is not None  # noqa: S101  # the view was found in it
        return version.shown(view, row)

    async def _wait(self, request: Request) -> Progress:
        """Waits until the views have seen what the caller has, or says that they have not."""
        given = request.headers.get("consistency-token")
        if given is not None:
            token = self._token(given)
            partition = partition_of(token.stream.encode(), self._domain.partitions)
            if not await self._views.reached(partition, token.position, WAIT_SECONDS):
                wait = {"retry-after": "1", **aged(await self._views.progress())}
                raise Problem(503, "not-yet-consistent", "the views have not yet seen what you have", headers=wait)
        return await self._views.progress()

    def _token(self, given: str) -> consistency.ConsistencyToken:
        try:
            token = consistency.decode(given)
        except ValueError:
            raise Problem(400, "invalid-consistency-token", "this is not a Consistency-Token of ours") from None
        if token.domain != self._domain.name:
            raise Problem(400, "invalid-consistency-token", f"the token is not one of {self._domain.name}")
        return token

    def _response(self, request: Request, body: bytes, progress: Progress) -> Response:
        tag = f'"{sha256(body).hexdigest()[:32]}"'
        headers = {"etag": tag, "cache-control": "private, no-cache", **aged(progress)}
        known = [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]
        if tag in known or known == ["*"]:
            return Response(None, 304, headers)
        return Response(body, 200, headers, JSON)


def owned(view: AnyView, row: Row, owner: str | None) -> bool:
    """Whether a row is the owner's, or anybody may see it."""
    return owner is None or (view.owner is not None and getattr(row, view.owner) == owner)


def not_yours() -> Problem:
    return Problem(403, "not-yours", "who is bound to his own can't see what is not his")


def aged(progress: Progress) -> dict[str, str]:
    """How far the views are, and for how many seconds they may lack something."""
    return {"data-position": str(max(progress.positions.values(), default=0)), "data-age": f"{progress.age:.1f}"}


def only(request: Request, known: tuple[str, ...]) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    unknown = sorted(set(names) - set(known))
    if unknown:
        told = ", ".join(known) or "none"
        raise Problem(422, "invalid-parameter", f"unknown parameter {unknown[0][:64]!r}; known are: {told}")
    if len(names) > len(set(names)):
        raise Problem(422, "invalid-parameter", "a parameter stands twice")


def size(request: Request) -> int:
    given = request.query_params.get("limit", str(LIMIT))
    if not (given.isascii() and given.isdigit() and len(given) < 6 and 1 <= int(given) <= LARGEST_LIMIT):
        raise Problem(422, "invalid-parameter", f"limit is a whole number from 1 to {LARGEST_LIMIT}")
    return int(given)


def equal(request: Request, view: AnyView) -> Mapping[str, Any]:
    """The filters, as values of their columns."""
    found: dict[str, Any] = {}
    for name in view.filters:
        given = request.query_params.get(name)
        if given is None:
            continue
        try:
            found[name] = TypeAdapter(view.row.model_fields[name].annotation).validate_python(given)
        except ValidationError:
            raise Problem(422, "invalid-parameter", f"this is no value of {name}") from None
        if isinstance(found[name], str) and "\x00" in found[name]:
            raise Problem(422, "invalid-parameter", f"this is no value of {name}")
    return found


def cursor(view: AnyView, row: Row) -> str:
    """An opaque mark behind a row, good for this view only."""
    return base64.urlsafe_b64encode(f"{view.name}\n{getattr(row, view.key)}".encode()).decode()


def behind(request: Request, view: AnyView) -> str:
    given = request.query_params.get("cursor")
    if given is None:
        return ""
    try:
        name, _, key = base64.b64decode(given, b"-_", validate=True).decode().partition("\n")
    except (binascii.Error, ValueError):
        name, key = "", ""
    if name != view.name or not key or "\x00" in key:
        raise Problem(400, "invalid-cursor", "this is not a cursor of this list")
    return key
