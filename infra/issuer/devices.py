"""Logins on another device (RFC 8628): codes that a person types in while a program asks now and then."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from secrets import choice, token_urlsafe
from time import monotonic

from infra.device import SLOWER_SECONDS
from infra.issuer.codes import Login, begun, keep, proves, refused
from infra.issuer.grant import GrantRefused
from infra.issuer.people import COMMAND_LINE, Person

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # without vowels no word comes of it (section 6.1)
LENGTH = 8
HELD_SECONDS = 600
INTERVAL_SECONDS = 1.0


@dataclass(slots=True)
class Waiting:
    """A program that waits for a person; `login` is his, once he has logged in."""

    user_code: str
    scopes: tuple[str, ...]
    challenge: str
    until: float
    next_ask: float
    interval: float = INTERVAL_SECONDS
    login: Login | None = None

    def proven(self, form: Mapping[str, str]) -> bool:
        """Whether this is who began, if he gave a challenge (as for a code, RFC 7636)."""
        return not self.challenge or proves(form.get("code_verifier", ""), self.challenge)


class Devices:
    """The programs that wait, by the secret that each has. Kept in memory, like all logins."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()

    def begin(self, form: Mapping[str, str]) -> tuple[str, Waiting]:
        """A new secret, and the code that belongs to it. Raises `GrantRefused`."""
        if form.get("client_id") != COMMAND_LINE:
            raise GrantRefused("unauthorized_client", "no such client")
        letters = "".join(choice(LETTERS) for _ in range(LENGTH))
        user_code = f"{letters[: LENGTH // 2]}-{letters[LENGTH // 2 :]}"
        scopes, now = tuple(form.get("scope", "").split()), self._clock()
        challenge = form.get("code_challenge", "")
        waiting = Waiting(user_code, scopes, challenge, now + HELD_SECONDS, now + INTERVAL_SECONDS)
        return keep(self._waiting, token_urlsafe(32), waiting), waiting

    def asked(self, user_code: str) -> Waiting | None:
        """Who waits for a code that was typed in, with or without its dash, in letters of any size."""
        typed = "".join(letter for letter in user_code.upper() if letter in LETTERS)
        for waiting in self._waiting.values():
            answered = waiting.login is not None or self._clock() >= waiting.until
            if not answered and typed == waiting.user_code.replace("-", ""):
                return waiting
        return None

    def approve(self, waiting: Waiting, name: str, person: Person) -> None:
        """Raises `GrantRefused` when the person may not have what was asked for."""
        waiting.login = begun(COMMAND_LINE, name, person, waiting.scopes, waiting.until)

    def redeem(self, form: Mapping[str, str]) -> Login:
        """The login of who waited, once. Raises `GrantRefused`: it is not there yet, or this was asked too soon."""
        secret, now = form.get("device_code", ""), self._clock()
        waiting = self._waiting.get(secret)
        if waiting is None or form.get("client_id") != COMMAND_LINE or not waiting.proven(form):
            raise refused()
        if now >= waiting.until:
            del self._waiting[secret]
            raise GrantRefused("expired_token", "nobody has logged in while the code held")
        early, waiting.next_ask = now < waiting.next_ask, now + waiting.interval
        if early:
            waiting.interval += SLOWER_SECONDS
            waiting.next_ask = now + waiting.interval
            raise GrantRefused("slow_down", f"ask every {waiting.interval:.0f} seconds, not sooner")
        if waiting.login is None:
            raise GrantRefused("authorization_pending", "nobody has logged in yet")
        del self._waiting[secret]
        return waiting.login
