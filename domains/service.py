"""The write side's doors: commands and streams over HTTP."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import orjson
from fastapi import Request, Response

from domains.access import bound_to
from domains.aggregates import Policy
from domains.errors import InvalidCommand, NotYours, Refused, UnknownCommand
from domains.handler import Handler
from domains.handler import Request as Asked
from domains.kernel import Domain
from domains.opening import recorded_data
from eventstore.errors import (
    EventsDetached,
    EventStoreError,
    IdempotencyConflict,
    InvalidEvent,
    KeyMissing,
    OutcomeUnknown,
    StoreBusy,
    StoreUnavailable,
    WrongExpectedVersion,
)
from eventstore.personal.keys import Keys
from eventstore.records import Any as AnyVersion
from eventstore.records import Exactly, Expected, Metadata, NoStream, RecordedEvent
from eventstore.store import EventStore
from infra import consistency
from infra.health import Health
from infra.oidc import Identity, Verifier, identify
from infra.settings import Settings
from infra.web import Application, Problem, application
from infra.web.context import current

BODY_LIMIT = 512 * 1024
GATEWAY = frozenset({"gateway"})
STREAMS_READ = "streams:read"
ETAG = re.compile(r'"([1-9][0-9]{0,17})"')
KEY = re.compile(r'"([\x21\x23-\x5b\x5d-\x7e]{1,200})"')
PAGE = 500
AGAIN = "the event store can't answer now; repeat with the same key"
SOON = {"retry-after": "1"}
UNANSWERED: dict[type[EventStoreError], tuple[str, str, dict[str, str]]] = {
    StoreUnavailable: ("store-unavailable", AGAIN, SOON),
    OutcomeUnknown: ("outcome-unknown", AGAIN, SOON),
    EventsDetached: ("events-detached", "events that this needs were taken out of the database", {}),
}


def write_side(
    domain: Domain, store: EventStore, settings: Settings, health: Health, verifier: Verifier, *, keys: Keys | None
) -> Application:
    """The application of one domain's write side; only the gateway may call it."""
    app = application(f"{domain.name} write side", settings, health, peers=GATEWAY, body_limit=BODY_LIMIT)
    policy = Policy(hot=settings.hot_aggregates, snapshot_every=settings.snapshot_every)
    handler = Handler(domain, store, policy, keys)

    async def command(request: Request) -> Response:
        identity = await identify(request, verifier, domain.command_scope(request.path_params["command"]))
        asked = await asked_for(request, identity, bound_to(domain, identity))
        check_demand(domain, asked)
        async with problems():
            appended = await handler.handle(asked)
        body = {"stream": appended.stream, "version": appended.version, "position": appended.position}
        headers = {
            "etag": f'"{appended.version}"',
            "location": f"/v1/{domain.name}/{asked.id}/events",
            "consistency-token": consistency.encode(domain.name, appended.stream, appended.position),
        }
        return Response(orjson.dumps(body), 201, headers, "application/json")

    async def events(request: Request) -> Response:
        identity = await identify(request, verifier, STREAMS_READ)
        stream = domain.stream(request.path_params["id"])
        after = number(request, "after", 0)
        async with problems():
            await handler.check_owner(stream, bound_to(domain, identity))
            page = await store.read_stream(stream, after=after, limit=number(request, "limit", PAGE, PAGE))
            told = [shown(event, await recorded_data(domain, event, keys)) for event in page]
        if not page and after == 0:
            raise Problem(404, "unknown-stream", f"there is no stream {stream}")
        body = {"stream": stream, "events": told}
        headers = {"etag": f'"{page[-1].version}"'} if page else {}
        return Response(orjson.dumps(body), 200, headers, "application/json")

    add(app, f"/v1/{domain.name}/{{id}}/events", events, "GET")
    add(app, f"/v1/{domain.name}/{{id}}/{{command}}", command, "POST")
    return app


def add(app: Application, path: str, endpoint: Callable[[Request], Awaitable[Response]], method: str) -> None:
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
    return Asked(path["id"], path["command"], await request.body(), wanted, once, metadata, owner)


def expected(request: Request) -> Expected:
    """The version that the caller demands. If-Match compares strongly, so a weak tag never matches."""
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is not None and none_match is not None:
        raise Problem(400, "invalid-precondition", "If-Match and If-None-Match exclude each other")
    if none_match is not None:
        if none_match.strip() != "*":
            raise Problem(400, "invalid-precondition", "If-None-Match of a command is *")
        return NoStream()
    if match is None:
        return AnyVersion()
    if (tag := ETAG.fullmatch(match.strip())) is None:
        raise Problem(412, "precondition-failed", 'If-Match is one strong tag, like "4"')
    return Exactly(int(tag[1]))


def check_demand(domain: Domain, asked: Asked) -> None:
    """Raises `Problem` 428 for a command that must say upon which version it was decided, and does not."""
    if asked.command in domain.needs_version and asked.expected == AnyVersion():
        raise Problem(428, "precondition-required", f"{asked.command} needs If-Match, or If-None-Match: *")


def key(request: Request, identity: Identity) -> str | None:
    """The key under which the store keeps the answer: one caller's keys are not another's."""
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    if (quoted := KEY.fullmatch(given)) is None:
        raise Problem(400, "invalid-idempotency-key", 'an Idempotency-Key is a quoted string, like "8e03978e"')
    owner = sha256(f"{identity.issuer}\n{identity.subject}".encode()).hexdigest()[:32]
    return f"{owner} {quoted[1]}"


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


@asynccontextmanager
async def problems() -> AsyncIterator[None]:
    """The domain's and the store's errors, as problems of HTTP."""
    try:
        yield
    except (UnknownCommand, NotYours) as error:
        status, slug = (403, "not-yours") if isinstance(error, NotYours) else (404, "unknown-command")
        raise Problem(status, slug, str(error)) from None
    except InvalidCommand as error:
        raise Problem(
            422, "invalid-command", "the body is not what the command asks for", errors=error.faults
        ) from None
    except Refused as error:
        raise Problem(409, "refused", error.detail, code=error.code) from None
    except WrongExpectedVersion as error:
        raise Problem(412, "precondition-failed", str(error), actual_version=error.actual) from None
    except IdempotencyConflict:
        raise Problem(422, "idempotency-conflict", "this Idempotency-Key was used for another command") from None
    except InvalidEvent as error:
        raise Problem(422, "invalid-event", str(error)) from None
    except StoreBusy as error:
        wait = {"retry-after": str(max(1, round(error.retry_after)))}
        raise Problem(503, "temporary-reduced-capacity", "too many commands wait", headers=wait) from None
    except (StoreUnavailable, OutcomeUnknown, EventsDetached) as error:
        slug, detail, wait = UNANSWERED[type(error)]
        raise Problem(503, slug, detail, headers=wait) from None
    except EventStoreError as error:
        slug = "key-missing" if isinstance(error, KeyMissing) else "internal-error"
        raise Problem(500, slug, "the event store failed") from error
