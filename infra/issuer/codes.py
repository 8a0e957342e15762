"""Logins of people: authorization code with PKCE (RFC 7636) for a native application (RFC 8252), refresh tokens that
change with each use. Everything is kept in memory: a restart logs everybody out.
"""

import re
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from hmac import compare_digest
from secrets import token_urlsafe
from time import monotonic
from typing import TypeVar

from infra.issuer.grant import GrantRefused, allowed
from infra.issuer.people import COMMAND_LINE, CONSOLE, Person

T = TypeVar("T")

# Where the answer to a client may go: always to this machine.
CLIENTS = {
    COMMAND_LINE: re.compile(r"http://127\.0\.0\.1:[1-9][0-9]{0,4}/callback"),
    CONSOLE: re.compile(r"https://127\.0\.0\.1:[1-9][0-9]{0,4}/callback"),
}
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
CODE_SECONDS = 60
REFRESH_SECONDS = 12 * 3600
MOST = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """What a login was asked for; it has been checked."""

    client: str
    redirect_uri: str
    state: str
    challenge: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody who has logged in, with what his tokens may say. `family` joins all that came of one login."""

    client: str
    name: str
    person: Person
    scopes: tuple[str, ...]
    family: str
    until: float


def asked(form: Mapping[str, str]) -> Asked:
    """Raises `GrantRefused`; nothing of what was asked is trusted then, so nobody is sent anywhere."""
    client, redirect = form.get("client_id", ""), form.get("redirect_uri", "")
    if client not in CLIENTS:
        raise GrantRefused("unauthorized_client", "no such client")
    if CLIENTS[client].fullmatch(redirect) is None:
        raise GrantRefused("invalid_request", "redirect_uri is 127.0.0.1:<port>/callback, by https for the console")
    if form.get("response_type") != "code":
        raise GrantRefused("unsupported_response_type", "only code is supported")
    challenge = form.get("code_challenge", "")
    if form.get("code_challenge_method") != "S256" or CHALLENGE.fullmatch(challenge) is None:
        raise GrantRefused("invalid_request", "a code_challenge with S256 is needed")
    if not form.get("state"):
        raise GrantRefused("invalid_request", "state is needed")
    return Asked(client, redirect, form["state"], challenge, tuple(form.get("scope", "").split()))


class Codes:
    """Codes and refresh tokens that have not been used."""

    def __init__(self) -> None:
        self._codes: OrderedDict[str, tuple[Asked, Login]] = OrderedDict()
        self._refresh: OrderedDict[str, Login] = OrderedDict()
        self._used: OrderedDict[str, str] = OrderedDict()

    def code(self, asked: Asked, name: str, person: Person) -> str:
        """A code for somebody who has logged in. Raises `GrantRefused` when he may not have what was asked for."""
        login = begun(asked.client, name, person, asked.scopes, monotonic() + CODE_SECONDS)
        return keep(self._codes, token_urlsafe(), (asked, login))

    def redeem(self, form: Mapping[str, str]) -> Login:
        """The login that a code stands for, once. A second use ends all that came of the first one."""
        code = form.get("code", "")
        self._check_unused(code)
        asked, login = self._codes.pop(code, (None, None))
        if asked is None or login is None or login.until < monotonic():
            raise refused()
        keep(self._used, code, login.family)
        if not proves(form.get("code_verifier", ""), asked.challenge):
            raise refused()
        if form.get("redirect_uri") != asked.redirect_uri or form.get("client_id") != asked.client:
            raise refused()
        return login

    def renew(self, form: Mapping[str, str]) -> Login:
        """The login of a refresh token, once."""
        token = form.get("refresh_token", "")
        self._check_unused(token)
        login = self._refresh.pop(token, None)
        if login is None or login.until < monotonic() or form.get("client_id") != login.client:
            raise refused()
        keep(self._used, token, login.family)
        return login

    def refresh_token(self, login: Login) -> str:
        return keep(self._refresh, token_urlsafe(), replace(login, until=monotonic() + REFRESH_SECONDS))

    def _check_unused(self, secret: str) -> None:
        """Who shows a used secret has stolen it, or was stolen from: nobody keeps what came of it."""
        family = self._used.get(secret)
        if family is not None:
            for token in [token for token, login in self._refresh.items() if login.family == family]:
                del self._refresh[token]
            raise refused()


def begun(client: str, name: str, person: Person, scopes: tuple[str, ...], until: float) -> Login:
    """Raises `GrantRefused` when a person may not have all of these scopes; without any he gets all that he has."""
    return Login(client, name, person, allowed(" ".join(scopes), person.scopes), token_urlsafe(), until)


def proves(verifier: str, challenge: str) -> bool:
    """Whether the challenge (S256) was made of this secret."""
    made = urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")
    return VERIFIER.fullmatch(verifier) is not None and compare_digest(made.encode(), challenge.encode())


def keep(where: OrderedDict[str, T], secret: str, what: T) -> str:
    where[secret] = what
    if len(where) > MOST:
        where.popitem(last=False)
    return secret


def refused() -> GrantRefused:
    return GrantRefused("invalid_grant", "the code or token is unknown, used, expired, or for something else")
