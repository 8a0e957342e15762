"""Who may ask for tokens, and with which scopes: a file that only its owner can read."""

import hmac
import secrets
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from infra.errors import SettingsError

FILE = "clients.json"


class Client(BaseModel):
    """A machine that asks for tokens in its own name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    secret: str = Field(min_length=16)
    scopes: tuple[str, ...]


LISTED = TypeAdapter(dict[str, Client])


class Clients:
    """The clients of a file, read again when it changes."""

    def __init__(self, file: Path) -> None:
        self._file, self._stamp = file, (0, 0, 0)
        self._clients: Mapping[str, Client] = {}

    def authenticate(self, name: str, secret: str) -> Client | None:
        """The client of that name and secret. It takes as long to refuse a wrong name as a wrong secret."""
        client = self._current().get(name)
        held = client.secret if client else secrets.token_urlsafe()
        same = hmac.compare_digest(sha256(held.encode()).digest(), sha256(secret.encode()).digest())
        return client if same else None

    def _current(self) -> Mapping[str, Client]:
        try:
            status = self._file.stat()
        except FileNotFoundError:
            return {}
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp != self._stamp:
            self._clients, self._stamp = listed(self._file), stamp
        return self._clients


def listed(file: Path) -> dict[str, Client]:
    """The clients in a file. Raises `SettingsError` if it is malformed or open to others."""
    if file.stat().st_mode & 0o077:
        raise SettingsError(f"{file} can be read by others", f"chmod 600 {file}")
    try:
        return LISTED.validate_json(file.read_bytes())
    except ValidationError as error:
        raise SettingsError(
            f"{file} is malformed: {error.error_count()} faults", "delete it, and start again"
        ) from None
