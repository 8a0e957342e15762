"""The people whom the development issuer knows: a file that only its owner can read.

`people.json`: `{"ann": {"password": "…", "scopes": ["orders:read"], "claims": {"customer": "17850"}}}`
"""

import hmac
import secrets
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from infra.errors import SettingsError

FILE = "people.json"
COMMAND_LINE, CONSOLE = "headrace-cli", "headrace-console"
"""The public clients with which people log in; no person has the name of one."""


class Person(BaseModel):
    """Somebody who logs in; `claims` are what his tokens say besides who he is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    password: str = Field(min_length=8)
    scopes: tuple[str, ...]
    claims: Mapping[str, str] = Field(default_factory=dict)


LISTED = TypeAdapter(dict[str, Person])


def authenticate(file: Path, name: str, password: str) -> Person | None:
    """The person of that name and password. It takes as long to refuse a wrong name as a wrong password."""
    person = listed(file).get(name)
    held = person.password if person else secrets.token_urlsafe()
    same = hmac.compare_digest(sha256(held.encode()).digest(), sha256(password.encode()).digest())
    return person if same else None


def listed(file: Path) -> dict[str, Person]:
    """The people in a file. Raises `SettingsError` if it is malformed or open to others."""
    if not file.exists():
        return {}
    if file.stat().st_mode & 0o077:
        raise SettingsError(f"{file} can be read by others", f"chmod 600 {file}")
    try:
        people = LISTED.validate_json(file.read_bytes())
    except ValidationError as error:
        raise SettingsError(f"{file} is malformed: {error.error_count()} faults") from None
    for client in (COMMAND_LINE, CONSOLE):
        if client in people:
            raise SettingsError(f"{file}: {client} is the name of a client, and can't be a person's")
    return people
