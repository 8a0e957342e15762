"""Logs people in: authorization code with PKCE (RFC 7636), against any issuer.

Until somebody is logged in nothing is kept for him here: what a login needs lies in a cookie of his own.
"""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import quote, unquote, urlencode

import aiohttp
import orjson

from infra.discovery import WELL_KNOWN, endpoint
from infra.errors import InfraError, IssuerUnavailable, TokenRefused
from infra.jwks import TIMEOUT, document
from infra.login import check
from infra.oidc import Verifier
from infra.settings import Settings
from infra.web import Problem, tls
from projections.console.sessions import Granted, Session

CLIENT = "headrace-console"
LARGEST = 64 * 1024


class Login:
    """The console as a client of the issuer."""

    def __init__(self, settings: Settings, verifier: Verifier, address: str) -> None:
        self._issuer, self._verifier, self._back = str(settings.oidc_issuer), verifier, f"{address}/callback"
        self._tls = tls.client(settings, identified=False)

    async def begin(self, scopes: Iterable[str], to: str) -> tuple[str, str]:
        """Where the browser goes, and what it keeps meanwhile. Raises `Problem` 503."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "response_type": "code",
            "client_id": CLIENT,
            "redirect_uri": self._back,
            "scope": " ".join(scopes),
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{await self._endpoint('authorization_endpoint')}?{urlencode(asked)}", f"{state}.{verifier}.{quote(to)}"

    async def finish(self, answer: Mapping[str, str], kept: str) -> tuple[Granted, str]:
        """What was granted, and the page that was wanted. Raises `Problem` 400, 401 or 503."""
        state, _, rest = kept.partition(".")
        verifier, _, to = rest.partition(".")
        if not verifier:
            raise Problem(400, "bad-request", "this browser has not begun a login, or too long ago")
        try:
            check(answer, state, self._issuer)
        except InfraError as error:
            raise Problem(400, "bad-request", str(error)) from None
        given = {"code": answer.get("code", ""), "redirect_uri": self._back, "code_verifier": verifier}
        return await self._granted({"grant_type": "authorization_code", **given}), unquote(to)

    async def renew(self, session: Session) -> None:
        """Renews what has expired, once however many ask. Raises `Problem` 401 or 503."""
        async with session.renewing:
            if session.expired:
                if session.granted.refresh is None:
                    raise Problem(401, "not-logged-in", "the login has come to its end")
                form = {"grant_type": "refresh_token", "refresh_token": session.granted.refresh}
                session.granted = await self._granted(form, session.granted.refresh)

    async def _granted(self, form: Mapping[str, str], before: str | None = None) -> Granted:
        answer = await self._post({**form, "client_id": CLIENT})
        if not isinstance(token := answer.get("access_token"), str):
            raise Problem(401, "not-logged-in", f"the issuer gives no token: {answer.get('error_description')}")
        try:
            identity = await self._verifier.verify(token)
        except (TokenRefused, IssuerUnavailable) as error:
            raise Problem(401, "not-logged-in", str(error)) from None
        return Granted(identity, token, answer.get("refresh_token") or before)

    async def _endpoint(self, name: str) -> str:
        try:
            async with self._session() as session:
                return endpoint(await document(session, self._issuer.rstrip("/") + WELL_KNOWN), name, self._issuer)
        except IssuerUnavailable as error:
            raise unavailable(error) from None

    async def _post(self, form: Mapping[str, str]) -> Mapping[str, Any]:
        address = await self._endpoint("token_endpoint")
        try:
            async with self._session() as session, session.post(address, data=form, allow_redirects=False) as answer:
                found = orjson.loads(await answer.content.read(LARGEST))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise unavailable(error) from None
        if answer.status >= 500:
            # That is no refusal: who is logged in stays so.
            raise unavailable(IssuerUnavailable(f"it answers {answer.status}"))
        return found if isinstance(found, dict) else {}

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._tls), timeout=TIMEOUT, trust_env=False)


def unavailable(error: Exception) -> Problem:
    detail = f"the token issuer does not answer: {error!r}"
    return Problem(503, "identity-provider-unavailable", detail, headers={"retry-after": "5"})
