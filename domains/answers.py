"""What a command is answered with, whether at once or later."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
from fastapi import Response

from domains.errors import InvalidCommand, NotYours, Refused, UnknownCommand
from domains.handler import Handler
from domains.handler import Request as Asked
from domains.kernel import Domain
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
from infra import consistency
from infra.web import Problem
from infra.web.problems import MEDIA_TYPE

JSON = "application/json"
AGAIN = "the event store can't answer now; repeat with the same key"
SOON = {"retry-after": "1"}
UNANSWERED: dict[type[EventStoreError], tuple[str, str, dict[str, str]]] = {
    StoreUnavailable: ("store-unavailable", AGAIN, SOON),
    OutcomeUnknown: ("outcome-unknown", AGAIN, SOON),
    EventsDetached: ("events-detached", "events that this needs were taken out of the database", {}),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it can be kept: a success, or the problem of a command that was refused."""

    status: int
    headers: dict[str, str]
    body: bytes

    def response(self, **more: str) -> Response:
        return Response(self.body, self.status, {**self.headers, **more}, JSON if self.status < 400 else MEDIA_TYPE)

    def told(self) -> bytes:
        """As JSON, in which the body is what was answered."""
        told = {"status": self.status, "headers": self.headers, "body": orjson.Fragment(self.body)}
        return orjson.dumps(told)


def kept(told: bytes) -> Answer:
    """The answer that was told so."""
    found = orjson.loads(told)
    return Answer(found["status"], found["headers"], orjson.dumps(found["body"]))


async def carried_out(domain: Domain, handler: Handler, asked: Asked) -> Answer:
    """The answer of a command that was done. Raises `Problem`."""
    async with problems():
        appended = await handler.handle(asked)
    body = {"stream": appended.stream, "version": appended.version, "position": appended.position}
    headers = {
        "etag": f'"{appended.version}"',
        "location": f"/v{asked.form}/{domain.name}/{asked.id}/events",
        "consistency-token": consistency.encode(domain.name, appended.stream, appended.position),
    }
    return Answer(201, headers, orjson.dumps(body))


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
        raise Problem(412, "precondition-failed", stands(error.actual), actual_version=error.actual) from None
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


def stands(version: int) -> str:
    """Why nothing was done upon a version that is not there; what was asked for, its caller knows."""
    return f"the stream is at version {version}" if version else "nothing was recorded under this id"
