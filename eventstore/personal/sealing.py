"""Seals a text about a person for one place: AES-256-GCM under the key of its subject.

    sealed:v1:<key>:<box>:<version>:<field>:<stream>

`key` is the id of the key (32 hexadecimal digits), `box` the nonce (12 bytes), the ciphertext and its tag (16 bytes) in
base64url. Everything but the box is associated data, so that a text that was moved or renamed does not open.
"""

import base64
import binascii
import hmac
import os
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from eventstore.errors import SealBroken

PREFIX = "sealed:v1:"
NOBODY = UUID(int=0)
KEY_BYTES = 32
NONCE_BYTES = 12
FINGERPRINTS = b"headrace fingerprints v1"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed text in its parts."""

    key: UUID
    box: bytes
    version: int
    field: str
    stream: str

    @classmethod
    def parsed(cls, text: str) -> "Sealed":
        """Raises `SealBroken` for anything but what `text` writes."""
        try:
            key, box, version, field, stream = text.removeprefix(PREFIX).split(":", 4)
            found = cls(UUID(hex=key), base64.urlsafe_b64decode(box), int(version), field, stream)
            if found.text == text:
                return found
        except (ValueError, binascii.Error):
            pass
        raise SealBroken("it is no sealed text")

    @property
    def text(self) -> str:
        box = base64.urlsafe_b64encode(self.box).decode()
        return f"{PREFIX}{self.key.hex}:{box}:{self.version}:{self.field}:{self.stream}"

    @property
    def place(self) -> str:
        return f"{self.version}:{self.field}:{self.stream}"


def blank(stream: str, version: int, field: str) -> str:
    """A sealed text that holds nothing and that nobody can open: what a history keeps instead of the real one."""
    return Sealed(NOBODY, b"", version, field, stream).text


class DataKey:
    """The key under which the texts of one subject are sealed."""

    def __init__(self, id: UUID, secret: bytes) -> None:
        self.id, self.secret = id, secret
        self._cipher = AESGCM(secret)

    @classmethod
    def generate(cls) -> "DataKey":
        return cls(UUID(bytes=os.urandom(16), version=4), os.urandom(KEY_BYTES))

    def seal(self, text: str, stream: str, version: int, field: str) -> str:
        nonce = os.urandom(NONCE_BYTES)
        place = f"{version}:{field}:{stream}"
        box = base64.urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, text.encode(), self._bound(place))).decode()
        return f"{PREFIX}{self.id.hex}:{box}:{place}"

    def open(self, sealed: Sealed) -> str:
        """Raises `SealBroken` when it was sealed under another key or for another place, or was changed."""
        nonce, box = sealed.box[:NONCE_BYTES], sealed.box[NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, box, self._bound(sealed.place)).decode()
        except (InvalidTag, ValueError):
            raise SealBroken(f"{sealed.field} of event {sealed.version} of {sealed.stream!r} does not open") from None

    def matches(self, sealed: str, text: str) -> bool:
        """Whether that is what was sealed; of a text that this key did not seal it is never known."""
        found = Sealed.parsed(sealed)
        return found.key == self.id and hmac.compare_digest(self.open(found).encode(), text.encode())

    def fingerprint(self, content: bytes) -> bytes:
        """A digest that nobody can compare with a guess who does not hold the key."""
        return hmac.digest(hmac.digest(self.secret, FINGERPRINTS, "sha256"), content, "sha256")

    def _bound(self, place: str) -> bytes:
        return f"{PREFIX}{self.id.hex}:{place}".encode()
