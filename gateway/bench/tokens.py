"""Tokens that one process verifies in a second: known ones, such as it sees for the first time; and bare signatures."""

import time
from uuid import uuid4

import uvloop
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc import jwt
from joserfc.jwk import ECKey

from infra.bench.figures import Round
from infra.oidc import Verifier, parsed
from infra.settings import Settings

MADE = 2000
KNOWN = 100_000


class Known(Verifier):
    """A verifier that has its keys already."""

    def __init__(self, settings: Settings, key: ECKey) -> None:
        super().__init__(settings)
        self._keys, self._fetched_at = {str(key.kid): (frozenset({"ES256"}), key)}, time.monotonic()


def verified(settings: Settings) -> dict[str, Round]:
    """One round of each, with ES256; beside them what the library of the signature takes alone."""
    return uvloop.run(both(settings))


async def both(settings: Settings) -> dict[str, Round]:
    key = ECKey.generate_key("P-256", {"kid": uuid4().hex})
    verifier, tokens = Known(settings, key), [made(settings, key) for _ in range(MADE)]
    alone, uncached = signatures(key, tokens), await taken(verifier, tokens)
    return {"signature": alone, "uncached": uncached, "cached": await taken(verifier, tokens * (KNOWN // MADE))}


def signatures(key: ECKey, tokens: list[str]) -> Round:
    public, kind, split = key.public_key, ec.ECDSA(hashes.SHA256()), [parsed(one) for one in tokens]
    given = [(der(signature), signed) for _, signed, _, signature in split]
    began, busy = time.perf_counter(), time.process_time()
    for signature, signed in given:
        public.verify(signature, signed, kind)
    return Round(len(tokens), time.perf_counter() - began, busy=time.process_time() - busy)


def der(signature: bytes) -> bytes:
    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))


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
