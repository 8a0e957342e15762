"""Signs access tokens (RFC 9068)."""

from collections.abc import Iterable
from pathlib import Path
from secrets import token_hex
from time import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey

from infra.errors import SettingsError
from infra.pki import pem, write

FILE = "signing.pem"
ALGORITHM = "ES256"
LIFETIME_SECONDS = 900


class Signer:
    """Holds the issuer's one key; made when it is not there, so that tokens outlive a restart."""

    def __init__(self, issuer: str, audience: str, credentials: Path) -> None:
        file = credentials / FILE
        if not file.exists():
            write(file, pem(ec.generate_private_key(ec.SECP256R1())))
        if file.stat().st_mode & 0o077:
            raise SettingsError(f"{file} can be read by others", f"chmod 600 {file}")
        self._issuer, self._audience = issuer, audience
        self._key = ECKey.import_key(file.read_bytes())
        self._kid = self._key.thumbprint()

    def key_set(self) -> dict[str, Any]:
        """The public key, as `/jwks` shows it."""
        public = self._key.as_dict(private=False)
        return {"keys": [{**public, "kid": self._kid, "use": "sig", "alg": ALGORITHM}]}

    def token(self, client: str, scopes: Iterable[str], subject: str | None = None, **more: str) -> str:
        """A token for a client, or for a person who uses it; `more` are claims of the person."""
        now = int(time())
        claims = {
            **more,
            "iss": self._issuer,
            "sub": subject or client,
            "client_id": client,
            "aud": self._audience,
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
            "jti": token_hex(16),
            "scope": " ".join(scopes),
        }
        header = {"alg": ALGORITHM, "kid": self._kid, "typ": "at+jwt"}
        return jwt.encode(header, claims, self._key, algorithms=[ALGORITHM])
