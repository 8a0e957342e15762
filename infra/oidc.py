"""Verifies access tokens (RFC 9068) with the keys of the one configured issuer."""

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import isfinite
from time import monotonic, time
from types import MappingProxyType
from typing import Any

from joserfc.jwk import Key
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode
from starlette.requests import Request

from infra.errors import IssuerUnavailable, TokenRefused
from infra.jwks import Keys, fetch_keys
from infra.settings import Settings
from infra.web.problems import Problem
from infra.web.tls import client

log = logging.getLogger(__name__)

TYPES = frozenset({"at+jwt", "application/at+jwt"})
HEADER = frozenset({"alg", "kid", "typ"})
NAMED = ("sub", "client_id", "jti")  # besides iss, aud and the times, what each token must have (RFC 9068, section 2.2)
LEEWAY_SECONDS = 5
LONGEST_TOKEN = 8192
CACHED_TOKENS = 10_000
HEADERS = 64
REFETCH_SECONDS = 10.0
RETRY_SECONDS = 0.25
REFRESH_SECONDS = 300.0


@dataclass(frozen=True)
class Identity:
    """Who asks, and what he may do; `claims` is all that his token says."""

    subject: str
    issuer: str
    scopes: frozenset[str]
    expires_at: float
    claims: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """What tells him from all others."""
        return f"{self.issuer} {self.subject}"

    @property
    def machine(self) -> bool:
        """Whether a client acts in its own name: its token has no other subject (RFC 9068, section 2.2)."""
        return self.claims.get("client_id") == self.subject


class Verifier:
    """Judges tokens. Keys come from the issuer's discovery document, are kept, and fetched anew now and then."""

    def __init__(self, settings: Settings) -> None:
        settings.need("oidc_issuer")
        assert settings.oidc_issuer is not None  # noqa: S101  # needed above
        self._issuer, self._audience = settings.oidc_issuer, settings.oidc_audience
        self._tenant = settings.tenant
        self._tls = client(settings, identified=False)
        self._keys: Keys = {}
        self._fetched_at, self._next_fetch, self._reachable = -REFRESH_SECONDS, 0.0, False
        self._fetching = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None
        # By the token itself: each request would hash it, and whoever reads our memory finds it there in any case.
        self._known: OrderedDict[bytes, Identity] = OrderedDict()

    def unready(self) -> str | None:
        """A readiness check: why no token can be judged, or None."""
        return None if self._keys else "the keys of the token issuer are not loaded yet"

    async def load(self) -> None:
        """Fetches the keys if there are none; old ones serve until there are new. Raises `IssuerUnavailable`."""
        if monotonic() - self._fetched_at >= REFRESH_SECONDS:
            if not self._keys:
                await self._fetch()
            elif self._refreshing is None or self._refreshing.done():
                self._refreshing = asyncio.create_task(self._fetch(), name="keys of the token issuer")
        if not self._keys:
            raise IssuerUnavailable("the token issuer does not answer")

    async def load_as_soon_as_possible(self) -> None:
        """Returns when the keys are there: the issuer may start after us."""
        while self.unready():
            await self._fetch()
            await asyncio.sleep(RETRY_SECONDS if self.unready() else 0)

    async def verify(self, token: str) -> Identity:
        """Whose token this is. Raises `TokenRefused`, or `IssuerUnavailable` if that cannot be found out."""
        if (known := self.known(token.encode())) is not None:
            return known
        identity = await self._judge(token)
        self._known[token.encode()] = identity
        if len(self._known) > CACHED_TOKENS:
            self._known.popitem(last=False)
        return identity

    def known(self, token: bytes) -> Identity | None:
        """Whose token this is, if it was verified before and has not expired."""
        known = self._known.get(token)
        return known if known is not None and known.expires_at + LEEWAY_SECONDS > time() else None

    async def _judge(self, token: str) -> Identity:
        header, signed, payload, signature = parsed(token)
        algorithms, key = await self._key(header["kid"])
        if header["alg"] not in algorithms:
            raise TokenRefused("the token is signed with an algorithm that is not its key's")
        if not JWSRegistry.algorithms[header["alg"]].verify(signed, signature, key):
            raise TokenRefused("the signature of the token is not valid")
        try:
            claims = unambiguous(urlsafe_b64decode(payload))
        except (ValueError, RecursionError) as error:
            raise TokenRefused("this is not a token") from error
        if not isinstance(claims, dict):
            raise TokenRefused("this is not a token")
        return self._accept(claims)

    async def _key(self, kid: str) -> tuple[frozenset[str], Key]:
        await self.load()
        if kid not in self._keys:
            await self._fetch()
        found = self._keys.get(kid)
        if found is None and not self._reachable:
            raise IssuerUnavailable("the token issuer does not answer")
        if found is None:
            raise TokenRefused("the token is signed with a key that its issuer does not have")
        return found

    async def _fetch(self) -> None:
        """Asks the issuer for its keys, at most once in a while however many ask. If it is down, the old keys stay."""
        async with self._fetching:
            if monotonic() < self._next_fetch:
                return
            try:
                keys = await fetch_keys(self._issuer, self._tls)
            except IssuerUnavailable as error:
                # Who has no keys at all asks again soon; with some, only a token with a key unknown here waits for it.
                self._reachable = False
                self._next_fetch = monotonic() + (REFETCH_SECONDS if self._keys else RETRY_SECONDS)
                log.warning("no keys from the token issuer: %s", error)
                return
            self._reachable, self._fetched_at = True, monotonic()
            self._next_fetch = self._fetched_at + REFETCH_SECONDS
            if keys != self._keys:
                self._keys = keys
                self._known.clear()

    def _accept(self, claims: Mapping[str, Any]) -> Identity:
        now = time()
        expires, issued, scope = number(claims, "exp"), number(claims, "iat"), claims.get("scope", "")
        if claims.get("iss") != self._issuer:
            raise TokenRefused("the token is of another issuer")
        if self._audience not in audiences(claims.get("aud")):
            raise TokenRefused("the token is for another audience")
        if claims.get("tenant") != self._tenant:
            raise TokenRefused("the token is of another tenant")
        if expires is None or expires + LEEWAY_SECONDS <= now:
            raise TokenRefused("the token has expired")
        if issued is None:
            raise TokenRefused("the token does not say when it was issued (iat)")
        if max(issued, number(claims, "nbf") or 0) > now + LEEWAY_SECONDS:
            raise TokenRefused("the token is not valid yet")
        for name in NAMED:
            if not isinstance(claims.get(name), str) or not claims[name]:
                raise TokenRefused(f"the token has no {name}")
        if not isinstance(scope, str):
            raise TokenRefused("the token does not say what for")
        return Identity(claims["sub"], self._issuer, frozenset(scope.split()), expires, claims)


def parsed(token: str) -> tuple[Mapping[str, str], bytes, bytes, bytes]:
    """A token's header, what of it is signed, its payload as it was sent, and its signature, not yet verified.

    Nothing in the header may bring a key or say where to find one.
    """
    if len(token) > LONGEST_TOKEN:
        raise TokenRefused("the token is too long")
    try:
        signed, _, signature = token.encode().rpartition(b".")
        head, payload = signed.split(b".")
        return header_of(head), signed, payload, urlsafe_b64decode(signature)
    except (ValueError, RecursionError) as error:
        raise TokenRefused("this is not a token") from error


@lru_cache(HEADERS)  # those of one key are all the same
def header_of(head: bytes) -> Mapping[str, str]:
    """Raises `TokenRefused`, or `ValueError` or `RecursionError` if this is no JSON."""
    header = unambiguous(urlsafe_b64decode(head))
    if not isinstance(header, dict) or header.keys() != HEADER:
        raise TokenRefused("the header of the token must have alg, kid and typ, and nothing else")
    if not all(isinstance(value, str) for value in header.values()) or header["typ"].lower() not in TYPES:
        raise TokenRefused("this is not an access token")
    return MappingProxyType(header)


def unambiguous(content: bytes) -> object:
    """A JSON value. Raises `ValueError` if a name stands twice: readers differ about which one counts."""
    return DECODER.decode(content.decode())


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


DECODER = json.JSONDecoder(object_pairs_hook=unique)


def audiences(claim: object) -> list[object]:
    return claim if isinstance(claim, list) else [claim]


def number(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise TokenRefused(f"{name} in the token is not a time")
    return float(value)


async def identify(request: Request, verifier: Verifier, scope: str) -> Identity:
    """Who makes this request; its actor from now on. Raises `Problem` 401, 403 or 503."""
    identity = await authorize(request.headers.getlist("authorization"), verifier, scope)
    request.scope["actor"] = identity.subject
    return identity


async def authorize(authorization: list[str], verifier: Verifier, scope: str) -> Identity:
    """The identity that these `Authorization` headers prove, if it has the scope."""
    token = bearer(authorization)
    try:
        identity = await verifier.verify(token)
    except TokenRefused as error:
        raise unauthorized(str(error), 'error="invalid_token"') from None
    except IssuerUnavailable as error:
        raise Problem(503, "identity-provider-unavailable", str(error), headers={"retry-after": "5"}) from None
    if scope not in identity.scopes:
        challenge = f'Bearer realm="headrace", error="insufficient_scope", scope="{scope}"'
        raise Problem(
            403, "insufficient-scope", f"this needs the scope {scope}", headers={"www-authenticate": challenge}
        )
    return identity


def bearer(authorization: list[str]) -> str:
    if len(authorization) > 1:
        raise Problem(400, "bad-request", "a header that has one value stands twice")
    scheme, _, token = authorization[0].partition(" ") if authorization else ("", "", "")
    if scheme.lower() != "bearer":
        # Who does not know what is needed is told that, and no error (RFC 6750, section 3.1).
        raise unauthorized("this needs an access token: `Authorization: Bearer <access token>`")
    if not token or not token.isascii():
        raise unauthorized("this is not a token", 'error="invalid_token"')
    return token


def unauthorized(detail: str, *parameters: str) -> Problem:
    challenge = ", ".join(('Bearer realm="headrace"', *parameters))
    return Problem(401, "invalid-token", detail, headers={"www-authenticate": challenge})
