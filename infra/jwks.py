"""Fetches the keys of a token issuer: from its discovery document, over TLS, from its own address only."""

import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from infra.discovery import LARGEST, WELL_KNOWN, endpoint
from infra.errors import IssuerUnavailable

TIMEOUT = aiohttp.ClientTimeout(total=5)
MOST_KEYS = 64
SMALLEST_RSA = 2048

Keys = Mapping[str, tuple[frozenset[str], Key]]


async def fetch_keys(issuer: str, tls: ssl.SSLContext) -> Keys:
    """By key id: the algorithms and the public key. Raises `IssuerUnavailable`."""
    connector = aiohttp.TCPConnector(ssl=tls, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT, trust_env=False) as session:
        discovery = await document(session, issuer.rstrip("/") + WELL_KNOWN)
        address = endpoint(discovery, "jwks_uri", issuer)
        keys = usable((await document(session, address)).get("keys"))
    if not keys:
        raise IssuerUnavailable("it has no key that can be used")
    return keys


async def document(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """A JSON object, bounded, without following redirects."""
    try:
        async with session.get(url, allow_redirects=False) as answer:
            content = await answer.content.read(LARGEST + 1)
            while len(content) <= LARGEST and (more := await answer.content.read(LARGEST + 1 - len(content))):
                content += more
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise IssuerUnavailable(f"it does not answer: {error!r}") from error
    if answer.status != 200 or len(content) > LARGEST:
        raise IssuerUnavailable(f"{url} answered {answer.status} with {len(content)} bytes")
    try:
        found = orjson.loads(content)
    except ValueError as error:
        raise IssuerUnavailable(f"{url} did not answer with JSON") from error
    if not isinstance(found, dict):
        raise IssuerUnavailable(f"{url} did not answer with a JSON object")
    return found


def usable(listed: object) -> Keys:
    """The keys of a key set that we verify with; all others are passed over."""
    keys: dict[str, tuple[frozenset[str], Key]] = {}
    for entry in listed[:MOST_KEYS] if isinstance(listed, list) else []:
        kid = entry.get("kid") if isinstance(entry, dict) else None
        if isinstance(kid, str) and entry.get("use", "sig") == "sig" and (found := key_of(entry)) is not None:
            keys[kid] = found
    return keys


def key_of(entry: Mapping[str, Any]) -> tuple[frozenset[str], Key] | None:
    """A public key and the names of the one algorithm that it is used with."""
    try:
        found = public_key(entry)
    except (JoseError, ValueError):
        return None
    return None if found is None or not any(entry.get("alg", name) == name for name in found[0]) else found


def public_key(entry: Mapping[str, Any]) -> tuple[frozenset[str], Key] | None:
    match entry:
        case {"kty": "EC", "crv": "P-256", "x": str(x), "y": str(y)}:
            return frozenset({"ES256"}), ECKey.import_key({"kty": "EC", "crv": "P-256", "x": x, "y": y})
        case {"kty": "OKP", "crv": "Ed25519", "x": str(x)}:
            return frozenset({"Ed25519", "EdDSA"}), OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x})
        case {"kty": "RSA", "n": str(n), "e": str(e)} if len(n) * 6 >= SMALLEST_RSA:
            return frozenset({"RS256"}), RSAKey.import_key({"kty": "RSA", "n": n, "e": e})
    return None
