"""The write side's doors: commands and streams over HTTP."""

import re
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any

import orjson
from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from domains.access import bound_to
from domains.aggregates import Policy
from domains.answers import carried_out, problems
from domains.following import Following
from domains.following import shown as shown_operation
from domains.handler import THERE, Demand, Handler, OneOf
from domains.handler import Request as Asked
from domains.kernel import Domain
from domains.opening import recorded_data
from domains.operations import Desk
from domains.repeats import Repeats
from eventstore.operations import Operation
from eventstore.personal.keys import Keys
from eventstore.records import Any as AnyVersion
from eventstore.records import Exactly, Metadata, NoStream, RecordedEvent
from eventstore.store import EventStore
from infra.health import Health
from infra.oidc import Identity, Verifier, identify
from infra.settings import Settings
from infra.web import Application, Problem, application
from infra.web.app import Endpoint
from infra.web.context import current

BODY_LIMIT = 512 * 1024
GATEWAY = frozenset({"gateway"})
STREAMS_READ = "streams:read"
ETAG = re.compile(r'"([1-9][0-9]{0,17})"')
TAGS = re.compile(r'\*|(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"(?:\s*,\s*(?:W/)?"[\x21\x23-\x7e\x80-\xff]*")*')
TAG = re.compile(r'(W/)?("[^"]*")')
KEY = re.compile(r'"([\x21\x23-\x5b\x5d-\x7e]{1,200})"')
PAGE = 500
LONGEST_WAIT = 20.0


def write_side(
    domain: Domain,
    store: EventStore,
    settings: Settings,
    health: Health,
    verifier: Verifier,
    *,
    keys: Keys | None,
    desk: Desk | None = None,
) -> Application:
    """The application of one domain's write side; only the gateway may call it.

    Without a desk every command is answered at once.
    """
    policy = Policy(hot=settings.hot_aggregates, snapshot_every=settings.snapshot_every)
    handler = desk.handler if desk is not None else Handler(domain, store, policy, keys)
    repeats = Repeats()

    async def command(request: Request) -> Response:
        identity = await identify(request, verifier, domain.command_scope(request.path_params["command"]))
        asked = await asked_for(request, identity, bound_to(domain, identity))
        check_demand(domain, asked)
        wished = preferred(request)
        # Who has no key to find the answer by gets it at once: what can't be met is passed over (RFC 7240).
        if desk is None or wished is None or asked.idempotency_key is None:
            return (await repeats.once(asked, partial(carried_out, domain, handler, asked))).response()
        return await later(desk, asked, wished, identity)

    async def events(request: Request) -> Response:
        identity = await identify(request, verifier, STREAMS_READ)
        stream = domain.stream(request.path_params["id"])
        if unknown := sorted(request.query_params.keys() - {"after", "limit"}):
            raise Problem(422, "invalid-parameter", f"unknown parameter {unknown[0][:64]!r}; known are: after, limit")
        after = number(request, "after", 0)
        async with problems():
            await handler.check_owner(stream, bound_to(domain, identity))
            page = await store.read_stream(stream, after=after, limit=number(request, "limit", PAGE, PAGE))
            told = [shown(event, await recorded_data(domain, event, keys)) for event in page]
        if not page and (after == 0 or not await store.read_stream(stream, limit=1)):
            raise Problem(404, "unknown-stream", f"there is no stream {stream}")
        # The tag is what a command demands in If-Match, so nobody on the way may make another of it. What it says of
        # persons may be gone although no event came, so that nothing is answered with 304.
        headers = {"etag": f'"{page[-1].version}"', "cache-control": "private, no-cache, no-transform"} if page else {}
        body = {"stream": stream, "events": told}
        return Response(orjson.dumps(body), 200, headers, "application/json")

    async def found(request: Request) -> tuple[Operation, Identity]:
        identity = await identify(request, verifier, f"{domain.name}:write")
        async with problems():
            found = await desk.find(request.path_params["id"], owner_of(identity)) if desk is not None else None
        if found is None:
            raise Problem(404, "unknown-operation", "there is no operation of yours with this id")
        return found, identity

    async def operation(request: Request) -> Response:
        return shown_operation((await found(request))[0])

    async def follow(request: Request) -> Response:
        one, identity = await found(request)
        assert following is not None  # noqa: S101  # it was found at the desk
        return following.answer(request, one, identity.expires_at)

    app = application(
        f"{domain.name} write side",
        settings,
        health,
        peers=GATEWAY,
        body_limit=BODY_LIMIT,
        before=partial(Door, command=command, domain=domain.name),
    )
    following = Following(desk.operations) if desk is not None else None
    add(app, "/v1/operations/{id}", operation, "GET")
    add(app, "/v1/operations/{id}/stream", follow, "GET")
    add(app, f"/v{{version:int}}/{domain.name}/{{id}}/events", events, "GET")
    add(app, Door.template(domain.name), command, "POST")
    return app


class Door:
    """Lets commands past the layers of the framework, which would cost a seventh of each; all else goes through."""

    def __init__(self, app: ASGIApp, *, command: Endpoint, domain: str) -> None:
        self._app, self._command, self._template = app, command, self.template(domain)
        self._address = re.compile(f"/v([0-9]{{1,9}})/{re.escape(domain)}/([^/]+)/([^/]+)")

    @staticmethod
    def template(domain: str) -> str:
        return f"/v{{version:int}}/{domain}/{{id}}/{{command}}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._address.fullmatch(scope["path"]) if scope.get("method") == "POST" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["route_template"] = self._template
        scope["path_params"] = {"version": int(found[1]), "id": found[2], "command": found[3]}
        response = await self._command(Request(scope, receive))
        await response(scope, receive, send)


def add(app: Application, path: str, endpoint: Endpoint, method: str) -> None:
    """A plain route: FastAPI's own body parsing would cost as much as the whole command."""
    app.add_route(path, endpoint, methods=[method])


async def asked_for(request: Request, identity: Identity, owner: str | None) -> Asked:
    context = current()
    metadata = Metadata(
        actor=identity.subject,
        request_id=context.request_id,
        correlation_id=context.request_id,
        traceparent=context.traceparent,
    )
    path = request.path_params
    wanted, once = expected(request), key(request, identity)
    return Asked(path["id"], path["command"], await request.body(), wanted, once, metadata, owner, path["version"])


def expected(request: Request) -> Demand:
    """The version that the caller demands. If-Match compares strongly, so a weak tag never matches."""
    given, none_match = request.headers.getlist("if-match"), request.headers.get("if-none-match")
    match = ", ".join(given).strip()
    if given and none_match is not None:
        raise Problem(400, "invalid-precondition", "If-Match and If-None-Match exclude each other")
    if none_match is not None:
        if none_match.strip() != "*":
            raise Problem(400, "invalid-precondition", "If-None-Match of a command is *")
        return NoStream()
    if not given:
        return AnyVersion()
    if (tag := ETAG.fullmatch(match)) is not None:
        return Exactly(int(tag[1]))
    if match == "*":
        return THERE
    if TAGS.fullmatch(match) is None:
        raise Problem(400, "invalid-precondition", 'If-Match is a strong tag, like "4", several of them, or *')
    strong = [tag for weak, tag in TAG.findall(match) if not weak]
    versions = frozenset(int(found[1]) for found in map(ETAG.fullmatch, strong) if found)
    if not versions:
        raise Problem(412, "precondition-failed", 'no stream has such a tag; a tag is strong, like "4"')
    return OneOf(versions)


def check_demand(domain: Domain, asked: Asked) -> None:
    """Raises `Problem` 428 for a command that must say upon which version it was decided, and does not."""
    if asked.command in domain.needs_version and asked.expected in (AnyVersion(), THERE):
        raise Problem(428, "precondition-required", f"{asked.command} needs If-Match, or If-None-Match: *")


def key(request: Request, identity: Identity) -> str | None:
    """The key under which the store keeps the answer: one caller's keys are not another's."""
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    if (quoted := KEY.fullmatch(given)) is None:
        raise Problem(400, "invalid-idempotency-key", 'an Idempotency-Key is a quoted string, like "8e03978e"')
    return f"{owner_of(identity)} {quoted[1]}"


def owner_of(identity: Identity) -> str:
    return name_of(identity.issuer, identity.subject)


@lru_cache(10_000)
def name_of(issuer: str, subject: str) -> str:
    return sha256(f"{issuer}\n{subject}".encode()).hexdigest()[:32]


def preferred(request: Request) -> float | None:
    """For how many seconds who prefers an answer later (RFC 7240) would wait for it; None if he does not."""
    wishes = [part.strip() for part in ",".join(request.headers.getlist("prefer")).lower().split(",")]
    if "respond-async" not in wishes:
        return None
    waits = [wish.partition("=")[2].strip('" ') for wish in wishes if wish.startswith("wait")]
    return min(float(waits[0]), LONGEST_WAIT) if waits and waits[0].isdigit() and len(waits[0]) < 6 else 0.0


async def later(desk: Desk, asked: Asked, seconds: float, identity: Identity) -> Response:
    """The answer, if it comes in time; else where it will be."""
    async with problems():
        operation = await desk.accept(asked, owner_of(identity))
        found = await desk.wait(operation, seconds) if seconds else None
    if found is not None:
        return found.response(**{"preference-applied": f"respond-async, wait={seconds:.0f}"})
    headers = {"location": f"/v1/operations/{operation}", "preference-applied": "respond-async", "retry-after": "1"}
    return Response(orjson.dumps({"id": operation, "status": "accepted"}), 202, headers, "application/json")


def number(request: Request, name: str, default: int, most: int = 2**53) -> int:
    given = request.query_params.get(name)
    if given is None:
        return default
    if not given.isascii() or not given.isdigit() or len(given) > 16 or int(given) > most:
        raise Problem(422, "invalid-parameter", f"{name} is a whole number up to {most}")
    return int(given)


def shown(event: RecordedEvent, data: bytes) -> dict[str, Any]:
    return {
        "version": event.version,
        "position": event.position,
        "id": str(event.id),
        "type": event.type,
        "time": event.time,
        "recorded_at": event.recorded_at,
        "actor": event.metadata.actor,
        "request_id": event.metadata.request_id,
        "correlation_id": event.metadata.correlation_id,
        "causation_id": event.metadata.causation_id,
        "data": orjson.Fragment(data),
    }
