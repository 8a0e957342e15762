"""The store's SQL: one statement or block in each file, read once."""

from importlib.resources import files
from typing import LiteralString

FOLDER = files(__name__)

Text = LiteralString
Migration = tuple[int, str, Text]


def statement(name: str) -> Text:
    """The text of `<name>.sql`: our own, hence as good as a literal."""
    return FOLDER.joinpath(f"{name}.sql").read_text(encoding="utf-8").strip()


def migrations() -> list[Migration]:
    """Number, name and text of each migration; they count 1, 2, 3 …"""
    steps = sorted(step.name.removesuffix(".sql") for step in FOLDER.joinpath("migrations").iterdir())
    return [(number, name, statement(f"migrations/{name}")) for number, name in enumerate(steps, 1)]
