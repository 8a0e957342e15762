"""The read side's door: queries over HTTP."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel

from domains.access import NOBODY, bound_to
from domains.errors import UnreadableEvent
from domains.kernel import Domain, Row, Version
from domains.opening import bodies
from eventstore.errors import KeyMissing, SealBroken, StoreUnavailable
from eventstore.personal.keys import Keys
from infra.health import Health
from infra.oidc import Identity, Verifier, identify
from infra.settings import Settings
from infra.web import Application, Problem, application
from projections.acting import CALLERS
from projections.errors import BeyondReach, FoldsWait, ReadUnavailable, RebuildFailed, RebuildRefused
from projections.rows import AnyView
from projections.serving import asking
from projections.serving.live import Live
from projections.serving.past import Past
from projections.serving.views import Progress, Views

log = logging.getLogger(__name__)

BODY_LIMIT = 16 * 1024
JSON = "application/json"
AGAIN = {"retry-after": "1"}

Headers = dict[str, str]


def read_side(
    domain: Domain, queries: "Queries", settings: Settings, health: Health, verifier: Verifier
) -> Application:
    """The application of one domain's queries. What operators ask for is added."""
    app = application(f"{domain.name} read side", settings, health, peers=CALLERS, body_limit=BODY_LIMIT)

    def guarded(ask: Callable[[Request, Identity], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            identity = await identify(request, verifier, domain.view_scope(request.path_params["view"]))
            async with problems():
                return await ask(request, identity)

        return endpoint

    base = f"/v{{version:int}}/{domain.name}/{{view}}"
    app.add_route(f"{base}/stream", guarded(queries.stream), methods=["GET"])
    app.add_route(f"{base}/{{key}}", guarded(queries.one), methods=["GET"])
    app.add_route(base, guarded(queries.page), methods=["GET"])
    return app


@asynccontextmanager
async def problems() -> AsyncIterator[None]:
    """The read side's errors, as problems of HTTP."""
    try:
        yield
    except (KeyMissing, SealBroken) as error:
        slug = "key-missing" if isinstance(error, KeyMissing) else "internal-error"
        raise Problem(500, slug, "a text about a person can't be opened") from error
    except (ReadUnavailable, StoreUnavailable) as error:
        log.warning("a question has no answer now: %s", error)
        raise Problem(503, "views-unavailable", "the views can't be read now", headers=AGAIN) from None
    except BeyondReach as error:
        raise Problem(422, "as-of-too-far", str(error)) from None
    except (RebuildFailed, UnreadableEvent) as error:
        log.warning("a question about the past has no answer: %s", error)
        told = "an event that was there by then can't be folded by today's code; `headrace projection verify` names it"
        raise Problem(500, "fold-failed", told) from None
    except RebuildRefused as error:
        log.warning("a question about the past has no answer: %s", error)
        told = "today's code of this view may not be folded anew; `headrace why` says what it reaches"
        raise Problem(500, "fold-failed", told) from None
    except FoldsWait:
        raise Problem(503, "temporary-reduced-capacity", "too many questions about the past", headers=AGAIN) from None


class Queries:
    """What can be asked, and what it needs to be asked well."""

    def __init__(self, domain: Domain, views: Views, past: Past, live: Live, keys: Keys | None) -> None:
        self._domain, self._views, self._past, self._live, self._keys = domain, views, past, live, keys

    async def one(self, request: Request, identity: Identity) -> Response:
        view, owner = self._view(request, identity)
        key = asking.key(request.path_params["key"])
        asking.only(request, ("as_of", "fields"))
        fields = asking.fields(request, self._version(request).row(view))
        if (moment := asking.as_of(request)) is not None:
            row, position = await self._past.one(view, key, moment)
            headers, parked, when = aged(position, age(moment)), Headers(), " had no row for this key then"
        else:
            progress, headers = await self._wait(request)
            row, parked = await self._views.one(view, key), await self._parked(view, key, progress)
            when = " has no row for this key"
        if row is None or not owned(view, row, owner):
            told = headers | (parked if owner is None else {})
            raise Problem(404, "unknown-key", view.name + when, headers=told)
        [body] = await bodies([self._shown(request, view, row)], self._keys, fields)
        return answer(request, body, headers | parked)

    async def page(self, request: Request, identity: Identity) -> Response:
        view, owner = self._view(request, identity)
        asking.only(request, ("limit", "cursor", "sort", "fields", "as_of", *view.filters))
        limit, place, filters = asking.size(request), asking.place(request, view), asking.equal(request, view)
        fields = asking.fields(request, self._version(request).row(view))
        filters = own(view, filters, owner)
        if (moment := asking.as_of(request)) is not None:
            rows, position = await self._past.page(view, filters, place, limit + 1, moment)
            headers = aged(position, age(moment))
        else:
            _, headers = await self._wait(request)
            rows = await self._views.page(view, filters, place, limit + 1)
        following = f'"{asking.cursor(view, place, rows[limit - 1])}"' if len(rows) > limit else "null"
        shown = [self._shown(request, view, row) for row in rows[:limit]]
        items = b",".join(await bodies(shown, self._keys, fields))
        return answer(request, b'{"items":[' + items + b'],"next":' + following.encode() + b"}", headers)

    async def stream(self, request: Request, identity: Identity) -> Response:
        view, owner = self._view(request, identity)
        wanted = self._live.wanted(request, view)
        filters = own(view, wanted.filters, owner)
        _, headers = await self._wait(request)
        # What a token allows ends with it.
        shown = partial(self._shown, request, view)
        wanted = replace(wanted, filters=filters, bound=owner is not None, until=identity.expires_at, shown=shown)
        return await self._live.answer(view, wanted, headers)

    async def _parked(self, view: AnyView, key: str, progress: Progress) -> Headers:
        """Says that events wait before a row, and from which position on."""
        position = await self._views.parked(view, key) if progress.parked else None
        return {} if position is None else {"data-parked": str(position)}

    def _view(self, request: Request, identity: Identity) -> tuple[AnyView, str | None]:
        """The view that is asked for, and whose rows the caller may see; None: anybody's."""
        name = request.path_params["view"]
        owner = bound_to(self._domain, identity)
        view = self._domain.view(name)
        if view is None or self._domain.version(request.path_params["version"]) is None:
            raise Problem(404, "unknown-view", f"{self._domain.name} has no view of that name")
        if owner == NOBODY or (owner is not None and view.owner is None):
            raise not_yours()
        return view, owner

    def _shown(self, request: Request, view: AnyView, row: Row) -> BaseModel:
        return self._version(request).shown(view, row)

    def _version(self, request: Request) -> Version:
        version = self._domain.version(request.path_params["version"])
        assert version is not None  # noqa: S101  # the view was found in it
        return version

    async def _wait(self, request: Request) -> tuple[Progress, Headers]:
        """Waits until the views have seen what the caller has, or says that they have not.

        The age that an answer tells is that of what it reads next: rows can only be newer.
        """
        wanted, (seconds, heard) = asking.seen(request, self._domain), asking.patience(request)
        seen, progress = await self._views.reached(wanted, seconds)
        headers = aged(max(progress.positions.values(), default=0), progress.age) | heard
        if not seen:
            detail = f"the views have not yet seen what you have, after {seconds:.1f} seconds"
            raise Problem(503, "not-yet-consistent", detail, headers=AGAIN | headers)
        return progress, headers


def owned(view: AnyView, row: Row, owner: str | None) -> bool:
    """Whether a row is the owner's, or anybody may see it."""
    return owner is None or (view.owner is not None and getattr(row, view.owner) == owner)


def own(view: AnyView, filters: Mapping[str, Any], owner: str | None) -> Mapping[str, Any]:
    """The filters of somebody who sees his own rows only."""
    if owner is None or view.owner is None:
        return filters
    if filters.get(view.owner, owner) != owner:
        raise not_yours()
    return {**filters, view.owner: owner}


def not_yours() -> Problem:
    return Problem(403, "not-yours", "who is bound to his own can't see what is not his")


def answer(request: Request, body: bytes, headers: Headers) -> Response:
    tag = f'"{sha256(body).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": "private, no-cache", **headers}
    known = [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]
    if tag in known or known == ["*"]:
        return Response(None, 304, headers)
    return Response(body, 200, headers, JSON)


def aged(position: int, seconds: float) -> Headers:
    """How far an answer is, and for how many seconds it may lack something."""
    return {"data-position": str(position), "data-age": f"{seconds:.1f}"}


def age(moment: datetime) -> float:
    return (datetime.now(UTC) - moment).total_seconds()
