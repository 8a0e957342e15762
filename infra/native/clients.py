"""The clients that the development issuer knows: a file that it reads again when it changes."""

import json
from collections.abc import Collection
from pathlib import Path

from infra.pki import write

FILE = "clients.json"


def add(folder: Path, id: str, secret: str, scopes: Collection[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = read(folder)
    wanted = {**known, id: {"secret": secret, "scopes": sorted(scopes)}}
    if wanted != known:
        write(folder / FILE, json.dumps(wanted, indent=1).encode())


def read(folder: Path) -> dict[str, object]:
    try:
        known: dict[str, object] = json.loads((folder / FILE).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return known
