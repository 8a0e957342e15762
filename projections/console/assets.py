"""What pages load: our own files, and htmx out of the jars that were fetched when this was installed."""

import zipfile
from base64 import b64encode
from hashlib import sha384
from importlib.resources import files
from pathlib import Path

from infra.errors import StartFailed

OURS = ("console.css", "console.js", "icon.svg")
KINDS = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
# By name: the file in its jar, and what it must be.
VENDORED = {
    "htmx.js": ("/dist/htmx.min.js", "/TgkGk7p307TH7EXJDuUlgG3Ce1UVolAOFopFekQkkXihi5u/6OCvVKyz1W+idaz"),
    "sse.js": ("/htmx-ext-sse/2.2.2/sse.js", "fw+eTlCc7suMV/1w/7fr2/PmwElUIt5i82bi+qTiLXvjRXZ2/FkiTNA/w0MhXnGI"),
}


def ours() -> dict[str, bytes]:
    static = files("projections.console") / "static"
    return {name: (static / name).read_bytes() for name in OURS}


def vendored(folder: Path) -> dict[str, bytes]:
    """The scripts that are not ours. Raises `StartFailed` when one is missing, or not what it must be."""
    held = {name: found for jar in sorted(folder.glob("*.jar")) for name, found in contents(jar).items()}
    for name, (_, wanted) in VENDORED.items():
        if name not in held or b64encode(sha384(held[name]).digest()).decode() != wanted:
            raise StartFailed(f"{name} in {folder} is missing, or is not what it must be", f"rm -r {folder}, and up")
    return held


def contents(jar: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(jar) as archive:
        names = archive.namelist()
        return {name: archive.read(path) for name, (end, _) in VENDORED.items() for path in names if path.endswith(end)}
