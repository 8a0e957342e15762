"""The clients and people that the development issuer knows: files that it reads again when they change."""

import json
from collections.abc import Collection
from pathlib import Path
from secrets import token_urlsafe

from infra.pki import write

FILE = "clients.json"
PEOPLE = "people.json"


def add(folder: Path, id: str, secret: str, scopes: Collection[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = read(folder)
    wanted = {**known, id: {"secret": secret, "scopes": sorted(scopes)}}
    if wanted != known:
        write(folder / FILE, json.dumps(wanted, indent=1).encode())


def first_person(folder: Path, name: str, scopes: Collection[str]) -> None:
    """Makes a person with a password of his own, if nobody is known yet."""
    if not (folder / PEOPLE).exists():
        person = {"password": token_urlsafe(12), "scopes": sorted(scopes), "claims": {}}
        write(folder / PEOPLE, json.dumps({name: person}, indent=1).encode())


def read(folder: Path) -> dict[str, object]:
    try:
        known: dict[str, object] = json.loads((folder / FILE).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return known
