"""Signed notes (C2SP signed-note): a text, and below it the Ed25519 signatures of those who stand for it.

A folder of credentials holds `signing.key` (PKCS #8, for its owner only) and beside it `signing.pub`: one line
`<name>+<8 hex digits>+<base64>`, the form in which verifiers of notes take a key.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.errors import NoteRefused, SettingsError
from infra.pki import write

KEY = "signing.key"
PUBLIC = "signing.pub"
ED25519 = b"\x01"
HASH_BYTES = 4
RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw
NOTE = re.compile(r"(?P<text>(?:[^\n]+\n)+)\n(?P<signatures>(?:— [^\n]+\n)+)")

NOTE_BYTES = re.compile(NOTE.pattern.encode())


def key_hash(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public).digest()[:HASH_BYTES]


class Signer:
    """Signs notes in a name."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._name, self._key = name, key
        self._public = key.public_key().public_bytes(*RAW)
        self._hash = key_hash(name, self._public)

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """The signer whose key lies in a folder. Raises `SettingsError`."""
        file = folder / KEY
        try:
            key = serialization.load_pem_private_key(file.read_bytes(), None)
        except FileNotFoundError:
            raise SettingsError(f"{file} is missing") from None
        except ValueError:
            raise SettingsError(f"{file} is no key") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise SettingsError(f"{file} is no Ed25519 key")
        if file.stat().st_mode & 0o077:
            raise SettingsError(f"{file} can be read by others", f"chmod 600 {file}")
        return cls(name, key)

    @property
    def public(self) -> str:
        """The public key, as a line for verifiers."""
        return f"{self._name}+{self._hash.hex()}+{base64.b64encode(ED25519 + self._public).decode()}"

    def sign(self, text: str) -> str:
        """The note: `text` is one or more lines, none empty, the last one ended."""
        signature = self._hash + self._key.sign(text.encode())
        return f"{text}\n— {self._name} {base64.b64encode(signature).decode()}\n"


class Keys:
    """The public keys that somebody trusts."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Raises `NoteRefused` for a line that is no key."""
        self._keys = dict(map(public_key, lines))

    def opened(self, note: str) -> str:
        """The text of a note that one of the keys has signed. Raises `NoteRefused`."""
        whole = NOTE.fullmatch(note)
        if whole is None:
            raise NoteRefused("it is no signed note")
        for line in whole["signatures"].splitlines():
            name, _, encoded = line.removeprefix("— ").partition(" ")
            try:
                signature = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                continue
            key = self._keys.get((name, signature[:HASH_BYTES]))
            if key is not None and signed(key, signature[HASH_BYTES:], whole["text"]):
                return whole["text"]
        raise NoteRefused("none of the trusted keys has signed it")


def signed(key: Ed25519PublicKey, signature: bytes, text: str) -> bool:
    try:
        key.verify(signature, text.encode())
    except InvalidSignature:
        return False
    return True


def public_key(line: str) -> tuple[tuple[str, bytes], Ed25519PublicKey]:
    try:
        name, digest, encoded = line.strip().split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        key = Ed25519PublicKey.from_public_bytes(raw[1:])
    except ValueError:
        raise NoteRefused(f"{line.strip()!r} is no public key") from None
    if raw[:1] != ED25519 or key_hash(name, raw[1:]).hex() != digest:
        raise NoteRefused(f"{line.strip()!r} is no public key")
    return (name, bytes.fromhex(digest)), key


def split(content: str) -> list[str]:
    """The notes of a file, one after another; a last one that was not written whole is left out."""
    return [found[0] for found in NOTE.finditer(content)]


def issue(folder: Path, name: str) -> None:
    """Gives `name` a key to sign with; one that is good stays."""
    try:
        signer = Signer.load(folder, name)
    except SettingsError:
        key = Ed25519PrivateKey.generate()
        write(folder / KEY, private_pem(key))
        signer = Signer(name, key)
    public = f"{signer.public}\n".encode()
    if not (folder / PUBLIC).exists() or (folder / PUBLIC).read_bytes() != public:
        write(folder / PUBLIC, public, 0o644)


def private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
