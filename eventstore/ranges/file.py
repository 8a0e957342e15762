"""A range of the log in a file: what PostgreSQL's binary COPY writes, compressed with gzip."""

import gzip
import hashlib
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from psycopg.abc import Buffer

from eventstore.errors import EvidenceBroken
from eventstore.evidence.chain import LENGTH, STREAM_LENGTH

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
END = b"\xff\xff"
COLUMNS = (9).to_bytes(2)
LEVEL = 3
CHUNK = 256 * 1024
AFTER_FIXED = 4  # stream, type, data and metadata


@dataclass(frozen=True, slots=True)
class RangeFile:
    """The events with `first <= position <= last`."""

    first: int
    last: int
    path: Path

    async def write(self, chunks: AsyncIterator[Buffer]) -> bytes:
        """The file's SHA-256. It is there whole, and safe on disk, or not at all."""
        unfinished = self.path.with_name(f"{self.path.name}.unfinished")
        with unfinished.open("w+b") as file:
            with gzip.GzipFile("", "wb", LEVEL, cast("BinaryIO", file), mtime=0) as packed:
                async for chunk in chunks:
                    packed.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").digest()
        unfinished.rename(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return digest

    def digest(self) -> bytes:
        """Raises `OSError`."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def unpacked(self) -> Iterator[bytes]:
        """What COPY takes."""
        with gzip.open(self.path) as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def entries(self) -> Iterator[bytes]:
        """The entries of the events, in order. Raises `EvidenceBroken` for a file that is none of ours."""
        try:
            with gzip.open(self.path) as file:
                if file.read(len(HEADER)) != HEADER:
                    raise EvidenceBroken(f"{self.path.name} is no range of a log")
                while (columns := file.read(2)) == COLUMNS:
                    yield entry_from(file)
                if columns != END:
                    raise EvidenceBroken(f"{self.path.name} is cut off")
        except (OSError, EOFError, ValueError) as error:
            raise EvidenceBroken(f"{self.path.name} can't be read: {error}") from error


def entry_from(file: gzip.GzipFile) -> bytes:
    parts = [file.read(STREAM_LENGTH)]
    for _ in range(AFTER_FIXED):
        length = file.read(LENGTH.size)
        parts += length, file.read(LENGTH.unpack(length)[0])
    return b"".join(parts)


class Entries:
    """The entries of files that follow each other, mostly asked for in order."""

    def __init__(self, files: Sequence[RangeFile]) -> None:
        self._files = files
        self._begin()

    def after(self, position: int, limit: int) -> list[bytes]:
        if position < self._at:
            self._begin()
        while self._at < position:
            if self._held:
                self._held.popleft()
            elif next(self._source, None) is None:
                return []
            self._at += 1
        while len(self._held) < limit and (entry := next(self._source, None)) is not None:
            self._held.append(entry)
        return [self._held[nth] for nth in range(min(limit, len(self._held)))]

    def _begin(self) -> None:
        self._source = (entry for file in self._files for entry in file.entries())
        self._held, self._at = deque[bytes](), 0
