"""The token endpoint: client credentials (RFC 6749, section 4.4), and its errors (section 5.2)."""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote_plus

from infra.issuer.clients import Clients
from infra.issuer.tokens import LIFETIME_SECONDS, Signer

MOST_FIELDS = 20
FORM = "application/x-www-form-urlencoded"


class GrantRefused(Exception):
    """An error that the standard names; `description` is for the developer who reads it."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.code, self.description, self.status = code, description, status


def grant(clients: Clients, signer: Signer, authorization: str | None, form: Mapping[str, str]) -> Mapping[str, object]:
    """The answer to a client's token request. Raises `GrantRefused`."""
    name, secret = credentials(authorization, form)
    client = clients.authenticate(name, secret)
    if client is None:
        raise GrantRefused("invalid_client", "no such client, or a wrong secret", 401)
    match form.get("grant_type"):
        case "client_credentials":
            scopes = allowed(form.get("scope"), client.scopes)
        case None:
            raise GrantRefused("invalid_request", "grant_type is missing")
        case _:
            raise GrantRefused("unsupported_grant_type", "this client has client_credentials only")
    token = signer.token(name, scopes)
    return {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": LIFETIME_SECONDS,
        "scope": " ".join(scopes),
    }


def fields(content_type: str, body: bytes) -> Mapping[str, str]:
    """The form that a body holds. Raises `GrantRefused`."""
    if content_type.partition(";")[0].strip().lower() != FORM:
        raise GrantRefused("invalid_request", f"the content type must be {FORM}")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError:
        raise GrantRefused("invalid_request", "the body is not a form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise GrantRefused("invalid_request", "a parameter is given twice")
    return form


def credentials(authorization: str | None, form: Mapping[str, str]) -> tuple[str, str]:
    """Name and secret of the client: from the header or from the form, never from both."""
    posted = form.get("client_id"), form.get("client_secret")
    if authorization is None:
        return posted[0] or "", posted[1] or ""
    if posted[1] is not None:
        raise GrantRefused("invalid_request", "the client authenticates in two ways at once")
    scheme, _, encoded = authorization.partition(" ")
    try:
        name, colon, secret = b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise GrantRefused("invalid_client", "malformed credentials", 401) from None
    if scheme.lower() != "basic" or not colon or posted[0] not in (None, unquote_plus(name)):
        raise GrantRefused("invalid_client", "malformed credentials", 401)
    return unquote_plus(name), unquote_plus(secret)


def allowed(requested: str | None, granted: tuple[str, ...]) -> tuple[str, ...]:
    """The scopes that were asked for, all that the client has if none was."""
    scopes = tuple(dict.fromkeys(requested.split())) if requested else granted
    if not set(scopes) <= set(granted):
        raise GrantRefused("invalid_scope", "the client may not have all of these scopes")
    return scopes
