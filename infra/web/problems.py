"""Problem details (RFC 9457): every error answer of every service has this form."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from infra.telemetry import current
from infra.web.catalogue import PROBLEMS

MEDIA_TYPE = "application/problem+json"
# As RFC 9110 calls them; the library has the names of the one before.
PHRASES = {
    **{status.value: status.phrase for status in HTTPStatus},
    413: "Content Too Large",
    422: "Unprocessable Content",
}
MOST_FAULTS = 20
LONGEST_TEXT = 200


class Problem(HTTPException):
    """An error answer. `type` is a slug that never changes, `detail` is for the person who reads it."""

    def __init__(
        self,
        status: int,
        type: str,
        detail: str,
        *,
        title: str | None = None,
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.type, self.title, self.extensions = type, title or title_of(type), extensions

    def body(self, instance: str) -> bytes:
        return orjson.dumps(
            {
                "type": f"/problems/{self.type}",
                "title": self.title,
                "status": self.status_code,
                "detail": self.detail,
                "instance": instance[:LONGEST_TEXT],
                "request_id": current().request_id,
                **self.extensions,
            },
            default=str,
        )

    def head(self, length: int) -> list[tuple[bytes, bytes]]:
        headers = {"content-type": MEDIA_TYPE, "content-length": str(length), "cache-control": "no-store"}
        return [(name.lower().encode(), value.encode()) for name, value in {**headers, **(self.headers or {})}.items()]


def title_of(slug: str) -> str:
    known = PROBLEMS.get(slug)
    return known.title if known else slug.replace("-", " ").capitalize()


BROKEN = Problem(500, "internal-error", "something broke; the request id finds the log lines")


def problem_of(error: StarletteHTTPException) -> Problem:
    """The problem that a framework's own error stands for."""
    if isinstance(error, Problem):
        return error
    slug = PHRASES[error.status_code].lower().replace(" ", "-").replace("'", "")
    if slug not in PROBLEMS:
        slug = "bad-request" if error.status_code < 500 else "internal-error"
    details = {404: "there is nothing at this address", 405: "this address does not know this method"}
    return Problem(error.status_code, slug, details.get(error.status_code, error.detail), headers=error.headers)


def invalid(error: ValidationError | RequestValidationError) -> Problem:
    """The problem of a body or parameter that does not fit its model. What was sent is never repeated."""
    found = error.errors()
    faults = [fault(one) for one in found[:MOST_FAULTS]]
    left_out = len(found) - len(faults)
    more: dict[str, Any] = {"errors_left_out": left_out} if left_out else {}
    return Problem(422, "invalid-content", "the request does not have the form it must have", errors=faults, **more)


def fault(error: Mapping[str, Any]) -> dict[str, str]:
    return {"field": path(error["loc"]), "code": str(error["type"]), "detail": str(error["msg"])[:LONGEST_TEXT]}


def path(location: Iterable[int | str]) -> str:
    return ".".join(str(part) for part in location if part != "body")[:LONGEST_TEXT]


def instance_of(scope: Mapping[str, Any]) -> str:
    """The address that was asked, as it was sent."""
    return bytes(scope.get("raw_path") or b"").decode("ascii", "replace")


async def translate(_: Request, error: Exception) -> Response:
    """Turns a framework's error into a problem; the edge answers it."""
    if isinstance(error, RequestValidationError):
        raise invalid(error) from error
    assert isinstance(error, StarletteHTTPException)  # noqa: S101  # it is registered for nothing else
    raise problem_of(error)


def install(app: FastAPI) -> None:
    """Makes every error of an application a problem."""
    app.add_exception_handler(StarletteHTTPException, translate)
    app.add_exception_handler(RequestValidationError, translate)
