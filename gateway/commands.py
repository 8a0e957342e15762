"""headrace api record | check | client"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from domains.discovery import discover
from domains.promises import Change
from gateway.compatibility import Document, changes
from gateway.documents import numbers
from gateway.openapi import document
from infra.console import Exit, fail, out, show_json

app = typer.Typer()
api = typer.Typer(no_args_is_help=True, help="Hold the addresses of today against what was promised.")
app.add_typer(api, name="api")

GENERATOR = "openapi-python-client"
FOLDER = Path("tests/api")
Folder = Annotated[Path, typer.Option("--folder", help="Where the recorded documents are.")]


@api.command("record")
def record(folder: Folder = FOLDER) -> None:
    """Keep the OpenAPI document of each version."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, described in documents().items():
            file(folder, number).write_text(text(described), encoding="utf-8")
            out.print(str(file(folder, number)))
    except OSError as error:
        raise fail(f"{folder}: {error.strerror}", Exit.USAGE) from None


@api.command("check")
def check(
    folder: Folder = FOLDER, as_json: Annotated[bool, typer.Option("--json", help="Plain JSON on stdout.")] = False
) -> None:
    """Compare each version with what was recorded. Exit 5: a caller of before would notice."""
    found = list[Change]()
    recorded = sorted(folder.glob("v*.json"))
    if not recorded:
        raise fail(f"there is no document in {folder}", Exit.NOT_FOUND, "headrace api record")
    current = documents()
    for kept in recorded:
        try:
            number, promised = int(kept.stem.removeprefix("v")), json.loads(kept.read_text(encoding="utf-8"))
            found += changes(promised, current.get(number, {"paths": {}}))
        except (ValueError, TypeError, AttributeError, KeyError):
            raise fail(f"{kept} is no document that was recorded", Exit.USAGE) from None
    if as_json:
        show_json([*map(asdict, found)])
    else:
        show(found)
    if any(change.breaking for change in found):
        raise typer.Exit(Exit.UNVERIFIED)


@api.command("client")
def client(
    folder: Annotated[Path, typer.Argument(help="Where the package goes; there must be nothing yet.")],
    version: Annotated[int | None, typer.Option("--api", help="The version of the addresses; all.")] = None,
) -> None:
    """Write a typed Python client of the gateway: a package, generated from the OpenAPI document of today."""
    places = os.pathsep.join((str(Path(sys.prefix) / "client" / "bin"), os.environ.get("PATH", "")))
    if (found := shutil.which(GENERATOR, path=places)) is None:
        raise fail(f"{GENERATOR} is not here", Exit.FAILURE, f"pip install {GENERATOR}, in an environment of its own")
    with NamedTemporaryFile("w", suffix=".json") as described:
        described.write(text(document(discover(), version)))
        described.flush()
        call = [found, "generate", "--fail-on-warning", "--meta", "uv", "--path", described.name]
        call += ["--output-path", str(folder)]
        environment = {**os.environ, "PATH": places}
        done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise fail(f"no client was generated:\n{done.stdout}{done.stderr}")
    out.print(str(folder))


def show(found: list[Change]) -> None:
    if found:
        table = Table("where", "what", "")
        for change in found:
            table.add_row(escape(change.path), escape(change.what), "[red]breaking[/]" if change.breaking else "safe")
        out.print(table)
    out.print(f"{sum(change.breaking for change in found)} of {len(found)} changes are breaking")


def documents() -> dict[int, Document]:
    """The document of each version as it is today."""
    domains = discover()
    return {number: document(domains, number) for number in numbers(domains)}


def file(folder: Path, number: int) -> Path:
    return folder / f"v{number}.json"


def text(described: Document) -> str:
    return json.dumps(described, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
