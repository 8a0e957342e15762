"""Looks for texts, byte by byte: in files as they lie on the disk, and in every value of every row."""

import errno
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.sql import SQL, Identifier

from eventstore import sql
from eventstore.link import parameters
from eventstore.personal.sealing import PREFIX

SHORTEST = 6
CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Looked:
    """A place that was searched: so many files or rows, and bytes. `unread` files were refused.

    `sealed` is how often a text stands there that is sealed under one of the keys: it shows that the search finds.
    """

    place: str
    units: int
    bytes: int
    finds: int
    sealed: int
    unread: int = 0


@dataclass(frozen=True, slots=True)
class Sought:
    """What is looked for: texts, and what is sealed under keys, both in every form in which they may stand."""

    texts: Sequence[bytes]
    sealed: Sequence[bytes]

    @classmethod
    def of(cls, texts: Iterable[str], keys: Iterable[UUID]) -> "Sought":
        return cls(patterns(texts), patterns(f"{PREFIX}{key.hex}:" for key in keys))


def searchable(texts: Iterable[str]) -> list[str]:
    """Those texts that can be told from chance."""
    return sorted({text for text in texts if len(text.encode()) >= SHORTEST})


def patterns(texts: Iterable[str]) -> list[bytes]:
    """How a text may stand somewhere: as it is, within JSON, and either in hexadecimal, as PostgreSQL shows bytes."""
    forms = [form.encode() for text in texts for form in (text, quoted(text), quoted(text, escaped=True))]
    return sorted({*forms, *(form.hex().encode() for form in forms)})


def quoted(text: str, *, escaped: bool = False) -> str:
    return json.dumps(text, ensure_ascii=escaped)[1:-1]


def files(place: str, folder: Path, sought: Sought) -> Looked:
    """Every file of a folder, or one file."""
    units = size = finds = sealed = unread = 0
    for file in [folder] if folder.is_file() else walk(folder):
        try:
            for chunk, before in chunks(file):
                size += len(chunk)
                finds += sum(occurrences(before, chunk, pattern) for pattern in sought.texts)
                sealed += sum(occurrences(before, chunk, pattern) for pattern in sought.sealed)
            units += 1
        except FileNotFoundError:
            continue
        except OSError:
            unread += 1
    return Looked(place, units, size, finds, sealed, unread)


def walk(folder: Path) -> Iterator[Path]:
    return (path for path in folder.resolve().rglob("*") if path.is_file() and not path.is_symlink())


def chunks(file: Path) -> Iterator[tuple[bytes, bytes]]:
    """The content in pieces, each with the one before it. Holes, which a broker's files are full of, hold nothing."""
    with file.open("rb", buffering=0) as opened:
        for start, end in extents(opened.fileno()):
            before, place = b"", start
            while place < end and (chunk := os.pread(opened.fileno(), min(CHUNK, end - place), place)):
                yield chunk, before
                before, place = chunk, place + len(chunk)


def extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """Where a file holds data: from, to."""
    end = 0
    while True:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        yield start, end


def occurrences(before: bytes, chunk: bytes, pattern: bytes) -> int:
    """Those that end in this chunk."""
    overlap = len(pattern) - 1
    return chunk.count(pattern) + (before[-overlap:] + chunk[:overlap]).count(pattern)


def rows(conninfo: str, sought: Sought) -> Iterator[Looked]:
    """Every value of every table, unpacked: what is compressed on the disk is looked through here."""
    with psycopg.connect(**parameters(conninfo)) as connection:
        connection.execute("SET statement_timeout = 0")
        database = connection.info.dbname
        for schema, table, columns in connection.execute(sql.statement("search_tables")).fetchall():
            listed = SQL(", ").join(SQL("{}::text").format(Identifier(name)) for name in columns)
            query = SQL(sql.statement("search_rows")).format(columns=listed, table=Identifier(schema, table))
            units = size = finds = sealed = 0
            with connection.cursor(name="every") as cursor:
                for row in cursor.execute(query):
                    content = joined(row)
                    units, size = units + 1, size + len(content)
                    finds += sum(map(content.count, sought.texts))
                    sealed += sum(map(content.count, sought.sealed))
            yield Looked(f"rows of {database}.{schema}.{table}", units, size, finds, sealed)


def joined(row: Sequence[Any]) -> bytes:
    return b"\x00".join(str(value).encode() for value in row if value is not None)
