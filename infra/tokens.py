"""Asks an issuer for tokens: for the command line, and for what acts in a person's name."""

import ssl
from base64 import b64encode
from collections.abc import Iterable, Mapping
from functools import cache
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from infra.discovery import LARGEST, WELL_KNOWN, endpoint
from infra.errors import InfraError, IssuerUnavailable, NotRunning
from infra.settings import Settings

SECONDS = 10
FORM = "application/x-www-form-urlencoded"
Answer = Mapping[str, Any]


def token(client: Settings, scopes: Iterable[str]) -> str:
    """A token for a client (its principal and password). Raises `NotRunning`, or `InfraError` with the refusal."""
    client.need("oidc_issuer")
    secret = b64encode(f"{quote(client.principal)}:{quote(client.password)}".encode()).decode()
    form = {"grant_type": "client_credentials", "scope": " ".join(scopes)}
    issuer = Issuer(str(client.oidc_issuer), client.ca_file)
    return str(given(issuer.post("token_endpoint", form, authorization=f"Basic {secret}"))["access_token"])


def given(answer: Answer, hint: str | None = None) -> Answer:
    """An answer that holds a token. Raises `InfraError` with the refusal that it is otherwise."""
    if "access_token" not in answer:
        said = answer.get("error_description") or answer.get("error")
        raise InfraError(f"the issuer gives no token: {said}", hint)
    return answer


class Issuer:
    """An issuer's addresses, as its discovery document names them."""

    def __init__(self, address: str, ca_file: Path) -> None:
        self.address = address
        self._tls = ssl.create_default_context(cafile=str(ca_file))
        self._discovery = cache(self._discover)

    def endpoint(self, name: str) -> str:
        """Raises `NotRunning` if the issuer does not answer, or not as an issuer does."""
        try:
            return endpoint(self._discovery(), name, self.address)
        except IssuerUnavailable as error:
            raise NotRunning(f"the token issuer does not answer: {error}", "headrace up") from None

    def post(self, name: str, form: Mapping[str, str], **headers: str) -> Answer:
        """What the address of that name answers to a form. Raises `NotRunning`."""
        return self._exchange("POST", self.endpoint(name), urlencode(form), {"content-type": FORM, **headers})

    def _discover(self) -> Answer:
        return self._exchange("GET", self.address.rstrip("/") + WELL_KNOWN)

    def _exchange(self, method: str, url: str, body: str | None = None, headers: Mapping[str, str] = {}) -> Answer:
        parts = urlsplit(url)
        connection = HTTPSConnection(parts.hostname or "", parts.port, timeout=SECONDS, context=self._tls)
        try:
            connection.request(method, parts.path, body, {"accept": "application/json", **headers})
            found = connection.getresponse()
            answer = orjson.loads(found.read(LARGEST))
        except (OSError, HTTPException, ValueError) as error:
            raise NotRunning(f"the token issuer does not answer: {error}", "headrace up") from None
        finally:
            connection.close()
        if found.status >= 500:
            # That is no refusal: whoever is logged in stays so, and asks again later.
            raise NotRunning(f"the token issuer answers {found.status}", "headrace up")
        return answer if isinstance(answer, dict) else {}
