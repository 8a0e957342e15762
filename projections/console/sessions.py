"""Who is logged in: a secret in a cookie, and what belongs to it in memory. A restart logs everybody out."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from time import time

from fastapi import Request, Response

from infra.oidc import Identity
from infra.web import Problem

COOKIE, FLOW = "__Host-headrace-console", "__Host-headrace-login"
LONGEST_SECONDS = 12 * 3600
FLOW_SECONDS = 600
MOST = 1000
ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Lax"


@dataclass(frozen=True, slots=True)
class Granted:
    """What an issuer has given somebody, and who he is by it."""

    identity: Identity
    token: str
    refresh: str | None


@dataclass(slots=True)
class Session:
    """One login. `csrf` proves that a form comes from a page of it, `said` is told on the next page."""

    granted: Granted
    csrf: str = field(default_factory=secrets.token_urlsafe)
    said: str | None = None
    until: float = field(default_factory=lambda: time() + LONGEST_SECONDS)
    renewing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def name(self) -> str:
        return self.granted.identity.subject

    @property
    def expired(self) -> bool:
        return self.granted.identity.expires_at <= time()

    def may(self, scope: str) -> bool:
        return scope in self.granted.identity.scopes

    def told(self) -> str | None:
        said, self.said = self.said, None
        return said


class Sessions:
    """The newest ones, so many at most. Only digests of the secrets are kept."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Session] = OrderedDict()

    def begin(self, granted: Granted) -> str:
        """The secret of a new session."""
        secret = secrets.token_urlsafe(32)
        self._known[digest(secret)] = Session(granted)
        if len(self._known) > MOST:
            self._known.popitem(last=False)
        return secret

    def find(self, request: Request) -> Session | None:
        found = self._known.get(digest(request.cookies.get(COOKIE, "")))
        return found if found is not None and found.until > time() else None

    def end(self, request: Request) -> None:
        self._known.pop(digest(request.cookies.get(COOKIE, "")), None)


def digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def give(answer: Response, name: str, value: str, seconds: int) -> Response:
    """An answer with one more cookie."""
    answer.headers.append("set-cookie", f"{name}={value}; Max-Age={seconds}; {ATTRIBUTES}")
    return answer


def take(answer: Response, *names: str) -> Response:
    for name in names:
        give(answer, name, "", 0)
    return answer


def check_form(request: Request, form: Mapping[str, str], session: Session, address: str) -> None:
    """Raises `Problem` 403 unless a form comes from a page of this session."""
    site, origin = request.headers.get("sec-fetch-site", "same-origin"), request.headers.get("origin", address)
    given = form.get("csrf", "").encode()
    if site != "same-origin" or origin != address or not secrets.compare_digest(given, session.csrf.encode()):
        raise Problem(403, "not-from-here", "open the page once more, and send the form from there")
