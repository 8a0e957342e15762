"""Gets an access token with client credentials: for the command line, the demo and tests."""

from collections.abc import Iterable
from dataclasses import dataclass
from time import time

import aiohttp

from infra.errors import IssuerUnavailable, TokenRefused
from infra.jwks import TIMEOUT, discover, endpoint
from infra.settings import Settings
from infra.web.tls import client


@dataclass(frozen=True, slots=True)
class AccessToken:
    text: str
    scopes: frozenset[str]
    expires_at: float


async def fetch_token(settings: Settings, name: str, secret: str, scopes: Iterable[str]) -> AccessToken:
    """A token for these scopes. Raises `TokenRefused` if the issuer says no, `IssuerUnavailable` if it says nothing."""
    settings.need("oidc_issuer")
    tls = client(settings, identified=False)
    form = {"grant_type": "client_credentials", "scope": " ".join(scopes)}
    connector = aiohttp.TCPConnector(ssl=tls, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:
        issuer = str(settings.oidc_issuer)
        address = endpoint(await discover(session, issuer), "token_endpoint", issuer)
        headers = {"authorization": aiohttp.encode_basic_auth(name, secret)}
        try:
            async with session.post(address, data=form, headers=headers, allow_redirects=False) as answer:
                content = await answer.json()
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise IssuerUnavailable(f"the token issuer does not answer: {error!r}") from error
    if answer.status != 200:
        raise TokenRefused(f"the issuer refused: {content.get('error_description', content)}")
    return AccessToken(content["access_token"], frozenset(content["scope"].split()), time() + content["expires_in"])
