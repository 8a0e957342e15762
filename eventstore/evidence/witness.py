"""Who keeps checkpoints outside the database: the port, its twin in memory, and a file."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from eventstore.errors import WitnessUnavailable
from infra import notes

TAIL_BYTES = 64 * 1024


class Witness(Protocol):
    """Keeps every note it is given. Raises `WitnessUnavailable`."""

    @property
    def name(self) -> str: ...

    async def latest(self) -> str | None:
        """The note that it was given last."""

    async def notes(self) -> Sequence[str]:
        """All notes, oldest first."""

    async def keep(self, note: str) -> None:
        """When it returns, the note is kept."""


class MemoryWitness:
    """A witness for tests and examples."""

    name = "memory"

    def __init__(self) -> None:
        self.kept: list[str] = []

    async def latest(self) -> str | None:
        return self.kept[-1] if self.kept else None

    async def notes(self) -> Sequence[str]:
        return list(self.kept)

    async def keep(self, note: str) -> None:
        self.kept.append(note)


class FileWitness:
    """A file that is only added to; one process writes. A note that was cut off, by a crash or a full disk, is removed
    before the next."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._whole = False
        self.name = str(file)

    async def latest(self) -> str | None:
        kept = notes.split((await self._read(TAIL_BYTES)).decode(errors="replace"))
        return kept[-1] if kept else None

    async def notes(self) -> Sequence[str]:
        return notes.split((await self._read()).decode(errors="replace"))

    async def keep(self, note: str) -> None:
        try:
            await asyncio.to_thread(self._append, note.encode())
        except OSError as error:
            raise WitnessUnavailable(f"{self._file}: {error.strerror}") from error

    async def _read(self, most: int | None = None) -> bytes:
        try:
            content = await asyncio.to_thread(self._file.read_bytes)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise WitnessUnavailable(f"{self._file}: {error.strerror}") from error
        return content if most is None else content[-most:]

    def _append(self, note: bytes) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._file.open("ab") as out:
            if not self._whole:
                content = self._file.read_bytes()
                out.truncate(max((found.end() for found in notes.NOTE_BYTES.finditer(content)), default=0))
            self._whole = False
            out.write(note)
            out.flush()
            os.fsync(out.fileno())
            self._whole = True
