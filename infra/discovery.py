"""What a token issuer's discovery document says (OpenID Connect Discovery 1.0), and what of it is believed."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from infra.errors import IssuerUnavailable

WELL_KNOWN = "/.well-known/openid-configuration"
LARGEST = 256 * 1024


def endpoint(discovery: Mapping[str, Any], name: str, issuer: str) -> str:
    """An address that an issuer's discovery document names, if both are its own. Raises `IssuerUnavailable`."""
    if discovery.get("issuer") != issuer:
        raise IssuerUnavailable("its discovery document is of another issuer")
    address = discovery.get(name)
    if not isinstance(address, str) or origin(address) != origin(issuer):
        raise IssuerUnavailable(f"its discovery document has a {name} at another address")
    return address


def origin(url: str) -> tuple[str, str | None, int]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or 443
    except ValueError as error:
        raise IssuerUnavailable("its discovery document holds a malformed address") from error
