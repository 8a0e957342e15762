"""Tokens that one process verifies in a second: known ones, and such as it sees for the first time."""

import time
from uuid import uuid4

import uvloop
from joserfc import jwt
from joserfc.jwk import ECKey

from infra.bench.figures import Round
from infra.oidc import Verifier
from infra.settings import Settings

MADE = 2000
KNOWN = 100_000


class Known(Verifier):
    """A verifier that has its keys already."""

    def __init__(self, settings: Settings, key: ECKey) -> None:
        super().__init__(settings)
        self._keys, self._fetched_at = {str(key.kid): (frozenset({"ES256"}), key)}, time.monotonic()


def verified(settings: Settings) -> dict[str, Round]:
    """One round of each, with ES256."""
    return uvloop.run(both(settings))


async def both(settings: Settings) -> dict[str, Round]:
    key = ECKey.generate_key("P-256", {"kid": uuid4().hex})
    verifier, tokens = Known(settings, key), [made(settings, key) for _ in range(MADE)]
    uncached = await taken(verifier, tokens)
    return {"uncached": uncached, "cached": await taken(verifier, tokens * (KNOWN // MADE))}


async def taken(verifier: Verifier, tokens: list[str]) -> Round:
    began, busy = time.perf_counter(), time.process_time()
    for one in tokens:
        await verifier.verify(one)
    return Round(len(tokens), time.perf_counter() - began, busy=time.process_time() - busy)


def made(settings: Settings, key: ECKey) -> str:
    now = int(time.time())
    claims = {
        "iss": settings.oidc_issuer,
        "aud": settings.oidc_audience,
        "sub": "bench",
        "client_id": "bench",
        "jti": uuid4().hex,
        "iat": now,
        "exp": now + 600,
        "scope": "bench:write",
    }
    return jwt.encode({"alg": "ES256", "kid": key.kid, "typ": "at+jwt"}, claims, key, default_type=None)
