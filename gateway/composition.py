"""Questions that several services answer together: all at once, within one deadline, and who is late is left out."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import parse_qsl, quote

import orjson

from domains.kernel import Part
from gateway.connection import Headers
from gateway.errors import BadAnswer, TooSlow, UpstreamError
from gateway.routes import Composed, Side
from gateway.upstream import Upstream
from infra import consistency
from infra.oidc import Identity
from infra.web import Problem
from infra.web.context import current

ROWS = 50
LARGEST_PART = 1024 * 1024
LONGEST_KEY = 256
JSON = b"application/json"
HEADERS: Headers = [(b"content-type", JSON), (b"cache-control", b"private, no-cache")]
# What a service's answer means for the part; any other one is no answer.
STATES = {403: "forbidden", 404: "missing", 504: "late"}
NOT_YET = b"/problems/not-yet-consistent"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of each part, by whom, and for how many seconds it is waited for."""

    key: str
    sent: Headers
    tokens: Mapping[str, Sequence[str]]
    identity: Identity
    seconds: float


class Answer(NamedTuple):
    """A composed answer. Its tag is weak: it stays while the age of the parts changes, which stands in the body."""

    tag: bytes
    body: bytes


class Composer:
    """Asks for the parts of a composition, with the caller's own token."""

    def __init__(self, services: Mapping[tuple[str, Side], Upstream]) -> None:
        self._services = services

    async def answer(self, composed: Composed, sent: Headers, identity: Identity, seconds: float) -> Answer:
        """The parts that came in time, and what became of the others. Raises `Problem` 422 or 503."""
        if len(composed.key) > LONGEST_KEY or not composed.key.isprintable():
            raise Problem(422, "invalid-key", f"a key has 1 to {LONGEST_KEY} printable characters")
        served = composed.served
        parts = served.composition.parts
        question = Question(composed.key, sent, tokens_by_domain(sent), identity, seconds)
        asked = zip(parts, served.forms, served.scopes, strict=True)
        answers = await asyncio.gather(*(self._part(part, form, scope, question) for part, form, scope in asked))
        if not any(state in ("ok", "missing", "forbidden") for state, *_ in answers):
            raise Problem(503, "service-unavailable", "none of the parts can be had now", headers={"retry-after": "1"})
        both = zip(parts, answers, strict=True)
        named = [(part.name.encode(), state.encode(), old, data) for part, (state, old, data) in both]
        told = b",".join(b'"%s":{"status":"%s"%s%s}' % each for each in named)
        tag = blake2b(b"\n".join(b"%s %s %s" % (name, state, data) for name, state, _, data in named), digest_size=16)
        body = b'{"key":' + orjson.dumps(composed.key) + b',"parts":{' + told + b"}}"
        return Answer(b'W/"%s"' % tag.hexdigest().encode(), body)

    async def _part(self, part: Part, form: int | None, scope: str, question: Question) -> tuple[str, bytes, bytes]:
        """The part's state, and its members of the answer: its age and its data."""
        upstream = self._services.get((part.domain, "read"))
        if upstream is None or form is None:
            return "unavailable", b"", b""
        if scope not in question.identity.scopes:
            return "forbidden", b"", b""
        try:
            async with asyncio.timeout(question.seconds):
                return await answered(upstream, written(part, form, question, upstream.authority), question.seconds)
        except (TooSlow, TimeoutError):
            return "late", b"", b""
        except UpstreamError:
            return "unavailable", b"", b""


async def answered(upstream: Upstream, request: bytes, seconds: float) -> tuple[str, bytes, bytes]:
    async with upstream.exchange(request, repeatable=True, seconds=seconds) as connection:
        body = connection.take()
        async for more in connection.rest(seconds):
            body += more
            if len(body) > LARGEST_PART:
                raise BadAnswer("the part is too large")
        status, headers = connection.status, dict(connection.headers)
    if status != 200 or headers.get(b"content-type") != JSON:
        late = status == 503 and NOT_YET in body
        return "late" if late else STATES.get(status, "unavailable"), b"", b""
    return "ok", age(headers.get(b"data-age", b"")), b',"data":' + body


def no_parameters(query: bytes) -> None:
    """Raises `Problem` 422 for any: who sends one expects something of it, and a view refuses what it does not know."""
    if given := parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        raise Problem(422, "invalid-parameter", f"unknown parameter {given[0][0][:64]!r}; known are: none")


def age(given: bytes) -> bytes:
    """How old the part may be, in seconds, if the service says so."""
    return b',"age":' + given if given.replace(b".", b"", 1).isdigit() else b""


def tokens_by_domain(sent: Headers) -> dict[str, list[str]]:
    """The caller's consistency tokens: each is for one domain's services. Raises `Problem` 400 for what is none."""
    found: dict[str, list[str]] = {}
    given = b",".join(value for name, value in sent if name == b"consistency-token").decode("latin-1")
    for token in filter(None, map(str.strip, given.split(","))):
        try:
            found.setdefault(consistency.decode(token).domain, []).append(token)
        except ValueError:
            raise Problem(400, "invalid-consistency-token", "this is not a Consistency-Token of ours") from None
    return found


def written(part: Part, form: int, question: Question, authority: bytes) -> bytes:
    """The question for one part, in a version of its domain, as its service gets it."""
    key, context = quote(question.key, safe=""), current()
    query = f"/{key}" if part.column is None else f"?{part.column}={key}&limit={ROWS}"
    lines = [
        f"GET /v{form}/{part.domain}/{part.view}{query} HTTP/1.1".encode(),
        b"host: " + authority,
        b"x-request-id: " + context.request_id.encode(),
        b"traceparent: " + context.traceparent.encode(),
        b"x-request-timeout-ms: %d" % (question.seconds * 1000),
        *(b"authorization: " + value for name, value in question.sent if name == b"authorization"),
        *(b"consistency-token: " + token.encode() for token in question.tokens.get(part.domain, ())),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"
