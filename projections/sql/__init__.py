"""The read side's SQL: one statement in each file, read once. `{…}` are identifiers that the tables fill in."""

from importlib.resources import files
from typing import LiteralString

from psycopg.sql import SQL

FOLDER = files(__name__)


def text(name: str) -> LiteralString:
    """The text of `<name>.sql`: our own, hence as good as a literal."""
    return FOLDER.joinpath(f"{name}.sql").read_text(encoding="utf-8").strip()


def template(name: str) -> SQL:
    """A statement with places for identifiers."""
    return SQL(text(name))
