"""People log in, at any issuer: authorization code with PKCE (RFC 7636) over a loopback address (RFC 8252), or a code
that they type in on another device (RFC 8628).

What comes of it is kept in a file that only its owner can read, and renewed while the issuer allows it.
"""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from time import monotonic, sleep, time
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson

from infra.device import GRANT, Asked, Pause, polled
from infra.errors import InfraError, NotRunning
from infra.pki import write
from infra.tokens import Answer, Issuer, given

FILE = "login.json"
CLIENT = "headrace-cli"
PATIENCE_SECONDS = 300.0
EARLY_SECONDS = 30
# Whether it went well is not known yet: the answer may be a refusal, or none to what was asked.
ANSWER = b"Go back to the command line, which says what came of it. This window can be closed."
Show = Callable[[str], object]


class Login:
    """Logs somebody in at an issuer, and keeps his tokens in a folder."""

    def __init__(self, issuer: str, ca_file: Path, folder: Path, client: str = CLIENT) -> None:
        self._issuer, self._client, self._file = Issuer(issuer, ca_file), client, folder / FILE

    def begin(self, scopes: Iterable[str], show: Show, patience: float = PATIENCE_SECONDS) -> None:
        """Shows the address of the login page, waits for what comes back, and keeps the tokens.

        Raises `InfraError` if the login is refused or answered by somebody else, `NotRunning` if nobody answers.
        """
        (verifier, challenge), state = proof(), secrets.token_urlsafe(24)
        with Waiting() as waiting:
            asked = {
                "response_type": "code",
                "client_id": self._client,
                "redirect_uri": waiting.address,
                "scope": " ".join(scopes),
                "state": state,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            }
            show(f"{self._issuer.endpoint('authorization_endpoint')}?{urlencode(asked)}")
            answer = waiting.answer(patience)
        check(answer, state, self._issuer.address)
        shown = {"code": answer.get("code", ""), "redirect_uri": waiting.address, "code_verifier": verifier}
        self._keep(self._ask({"grant_type": "authorization_code", **shown}))

    def begin_elsewhere(self, scopes: Iterable[str], show: Callable[[Asked], object], pause: Pause = sleep) -> None:
        """Shows where and with which code to log in on any other device, waits for it, and keeps the tokens (RFC 8628).

        Raises `InfraError` if the login is refused, `NotRunning` if nobody logs in while the code holds.
        """
        verifier, challenge = proof()
        form = {"scope": " ".join(scopes), "code_challenge": challenge, "code_challenge_method": "S256"}
        asked = Asked.of(self._ask(form, "device_authorization_endpoint"))
        show(asked)
        shown = {"grant_type": GRANT, "device_code": asked.device_code, "code_verifier": verifier}
        self._keep(polled(lambda: self._ask(shown), asked, pause))

    def token(self) -> str | None:
        """A token that is still valid, renewed if need be; None if nobody is logged in at this issuer."""
        kept = self._kept()
        if kept is not None and expired(kept):
            # Commands run side by side: the second to show a refresh token would pass for a thief, and end the login.
            with self._alone():
                kept = self._renewed()
        return None if kept is None else str(kept["access_token"])

    def end(self) -> None:
        """Forgets the tokens."""
        self._file.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """A block that only one command of all that run is in."""
        with self._file.with_name(f".{FILE}.lock").open("w") as lock:
            flock(lock, LOCK_EX)
            yield

    def _renewed(self) -> Answer | None:
        """What is kept, renewed unless that has been done meanwhile; None if it can't be."""
        kept = self._kept()
        if kept is None or not expired(kept):
            return kept
        if not kept.get("refresh_token"):
            return None
        shown = {"grant_type": "refresh_token", "refresh_token": kept["refresh_token"]}
        return self._keep(self._ask(shown), kept)

    def _kept(self) -> Answer | None:
        try:
            kept = orjson.loads(self._file.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        mine = kept.get("issuer") == self._issuer.address and kept.get("client") == self._client
        return kept if mine else None

    def _keep(self, answer: Answer, before: Answer | None = None) -> Answer:
        """Keeps tokens, or forgets those that there were when none are given. Raises `InfraError` with the refusal."""
        if "access_token" not in answer:
            self.end()
        kept = {
            "issuer": self._issuer.address,
            "client": self._client,
            "access_token": given(answer, "headrace login")["access_token"],
            "refresh_token": answer.get("refresh_token") or (before or {}).get("refresh_token"),
            "expires_at": time() + float(answer.get("expires_in", 60)),
        }
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(self._file, orjson.dumps(kept))
        return kept

    def _ask(self, form: Mapping[str, str], endpoint: str = "token_endpoint") -> Answer:
        return self._issuer.post(endpoint, {**form, "client_id": self._client})


def expired(kept: Answer) -> bool:
    """Whether a token is over, or will be before it can be of use."""
    return float(kept["expires_at"]) - EARLY_SECONDS <= time()


def proof() -> tuple[str, str]:
    """A secret, and the challenge that whoever shows the secret later on has answered (S256)."""
    verifier = secrets.token_urlsafe(48)
    return verifier, urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")


def check(answer: Mapping[str, str], state: str, issuer: str) -> None:
    """Raises `InfraError` unless an answer is to what we asked, and says yes."""
    if not secrets.compare_digest(answer.get("state", "").encode(), state.encode()):
        raise InfraError("the answer is not to what was asked here (its state is another)", "headrace login")
    if answer.get("iss", issuer) != issuer:
        raise InfraError("the answer is of another issuer", "headrace login")
    if "error" in answer:
        raise InfraError(f"the login was refused: {answer.get('error_description') or answer['error']}")


class Waiting:
    """Waits on a loopback address for a browser that comes back."""

    def __init__(self) -> None:
        self._answer: dict[str, str] | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                known = parts.path == "/callback" and outer._answer is None
                self.send_response(200 if known else 404)
                self.send_header("content-type", "text/plain; charset=utf-8")
                self.send_header("cache-control", "no-store")
                self.end_headers()
                if known:
                    self.wfile.write(ANSWER)
                    outer._answer = dict(parse_qsl(parts.query))

            def log_message(self, *_: object) -> None:
                """The address holds a code: it is not for a log."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/callback"

    def answer(self, seconds: float) -> Mapping[str, str]:
        """What came back. Raises `NotRunning` when nobody came."""
        deadline = monotonic() + seconds
        while self._answer is None and (left := deadline - monotonic()) > 0:
            self._server.timeout = left
            self._server.handle_request()
        if self._answer is None:
            raise NotRunning("nobody came back from the login page", "headrace login")
        return self._answer

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()
