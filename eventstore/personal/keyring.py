"""The keys that wrap data keys: a file outside of every database, for its owner only, a line `<id> <base64>` each."""

import base64
import binascii
import os
from collections.abc import Collection
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from eventstore.errors import KeyMissing, SealBroken
from eventstore.personal.sealing import KEY_BYTES, NONCE_BYTES, DataKey
from infra.errors import SettingsError
from infra.pki import write


def file(folder: Path | None, store: str) -> Path:
    """Where the keyring of a store is. Raises `SettingsError`."""
    if folder is None:
        raise SettingsError("not set: HEADRACE_KEYS")
    return folder / f"{store}.keyring"


class Keyring:
    """Reads the file when it is asked for a key that it does not know, so that it follows a rotation."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._keys: dict[UUID, bytes] = {}

    def ids(self) -> list[UUID]:
        """The keys in the file, oldest first. Raises `SettingsError`."""
        self._keys = self._read()
        return list(self._keys)

    def add(self) -> UUID:
        """A new key; when it returns, the file has it."""
        keys = self._read()
        id = UUID(bytes=os.urandom(16), version=4)
        keys[id] = os.urandom(KEY_BYTES)
        self._write(keys)
        return id

    def keep(self, ids: Collection[UUID]) -> None:
        """Destroys every key but these."""
        keys = self._read()
        if keys.keys() - set(ids):
            self._write({id: key for id, key in keys.items() if id in ids})

    def wrap(self, by: UUID, key: DataKey, subject: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self._key(by)).encrypt(nonce, key.secret, bound(key.id, subject))

    def unwrap(self, by: UUID, id: UUID, subject: str, wrapped: bytes) -> DataKey:
        """Raises `KeyMissing` when the keyring lacks what wrapped it, and `SealBroken` when it was changed."""
        nonce, box = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        try:
            return DataKey(id, AESGCM(self._key(by)).decrypt(nonce, box, bound(id, subject)))
        except (InvalidTag, ValueError):
            raise SealBroken(f"the data key {id} does not open") from None

    def _key(self, id: UUID) -> bytes:
        if id not in self._keys:
            self._keys = self._read()
        if id not in self._keys:
            raise KeyMissing(f"{self._file} lacks the key {id}, which wraps data keys")
        return self._keys[id]

    def _read(self) -> dict[UUID, bytes]:
        try:
            if self._file.stat().st_mode & 0o077:
                raise SettingsError(f"{self._file} can be read by others", f"chmod 600 {self._file}")
            lines = [line.split() for line in self._file.read_text().splitlines()]
            return {UUID(hex=id): base64.b64decode(key, validate=True) for id, key in lines}
        except FileNotFoundError:
            return {}
        except (ValueError, binascii.Error):
            raise SettingsError(f"{self._file} is no keyring") from None

    def _write(self, keys: dict[UUID, bytes]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lines = [f"{id.hex} {base64.b64encode(key).decode()}\n" for id, key in keys.items()]
        write(self._file, "".join(lines).encode())
        self._keys = keys


def bound(id: UUID, subject: str) -> bytes:
    return f"{id.hex}:{subject}".encode()
