"""Takes old ranges out of the database, and brings them back. What was sealed is what goes and what comes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable
from psycopg.sql import SQL, Identifier, Literal

from eventstore import sql
from eventstore.errors import EvidenceBroken, RangeRefused, StoreUnavailable
from eventstore.evidence.chain import chained, position_of, stream_of, version_of
from eventstore.evidence.ledger import Ledger
from eventstore.evidence.postgres import PostgresLedger
from eventstore.link import sentence
from eventstore.ranges.file import Entries, RangeFile

PAGE = 5000
LOCK_SECONDS = 5

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Range:
    """Positions that lie together. `file` holds them when they are detached."""

    first: int
    last: int
    file: str | None = None
    digest: bytes | None = None

    @property
    def table(self) -> Identifier:
        return Identifier(f"events_{self.first}")

    def found(self, folder: Path | None = None) -> RangeFile:
        """The file, where it was put or in another folder. Raises `RangeRefused` if it is not the one."""
        path = Path(self.file or "")
        path = folder / path.name if folder else path
        found = RangeFile(self.first, self.last, path)
        try:
            right = found.digest() == self.digest
        except OSError as error:
            raise RangeRefused(
                f"positions {self.first} to {self.last} are in {path}: {error.strerror}; --ranges names its folder"
            ) from None
        if not right:
            raise RangeRefused(f"{path} is not the file that was written for positions {self.first} to {self.last}")
        return found


async def ranges(connection: AsyncConnection[Any]) -> list[Range]:
    """All ranges, in order."""
    return [Range(*row) for row in await (await connection.execute(sql.statement("ranges"))).fetchall()]


class Mover:
    """Works with the rights of the schema's owner."""

    def __init__(self, connection: AsyncConnection[Any], ledger: Ledger, progress: Progress) -> None:
        self._connection, self._ledger, self._progress = connection, ledger, progress

    async def detach(self, folder: Path, name: str, before: int) -> list[Range]:
        """The ranges that end before a position, oldest first, each into a file of its own.

        Raises `RangeRefused` and `EvidenceBroken`; what went before is detached and named in the database.
        """
        last = await self._ledger.last()
        there = [one for one in await ranges(self._connection) if one.file is None and one.last < before]
        if there and there[-1].last > (sealed := last.size if last else 0):
            there = [one for one in there if one.last <= sealed]
        if not there:
            raise RangeRefused(f"no range that is full and sealed ends before {before}")
        return [await self._out(one, folder / f"{name}-{one.first}-{one.last}.copy.gz") for one in there]

    async def attach(self, folder: Path | None = None) -> Range:
        """The newest of the detached ranges, from its file. Raises `RangeRefused` and `EvidenceBroken`."""
        gone = [one for one in await ranges(self._connection) if one.file is not None]
        if not gone:
            raise RangeRefused("no range is detached")
        one, file = gone[-1], gone[-1].found(folder)
        await self._check(one, file.entries())
        with refusals():
            async with self._connection.transaction():
                await self._run("SELECT make_range(current_schema(), %s)", one.first)
                copied = SQL(sql.statement("range_in")).format(table=one.table)
                async with self._connection.cursor().copy(copied) as copy:
                    for chunk in file.unpacked():
                        await copy.write(chunk)
                await self._run(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                await self._connection.execute(
                    SQL(sql.statement("range_attach")).format(
                        table=one.table, first=Literal(one.first), end=Literal(one.last + 1)
                    )
                )
                await self._run(sql.statement("range_is_back"), one.first, one.last)
                await self._run(sql.statement("range_in_file"), None, None, one.first)
        return Range(one.first, one.last)

    async def _out(self, one: Range, path: Path) -> Range:
        file = RangeFile(one.first, one.last, path)
        with refusals():
            async with self._connection.cursor().copy(SQL(sql.statement("range_out")).format(table=one.table)) as copy:
                digest = await file.write(aiter(copy))
        await self._check(one, file.entries())
        gone = Range(one.first, one.last, str(path), digest)
        with refusals():
            async with self._connection.transaction():
                await self._run(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                await self._connection.execute(SQL(sql.statement("range_ends")).format(table=one.table))
                await self._run(sql.statement("range_in_file"), gone.file, digest, one.first)
                await self._connection.execute(SQL("ALTER TABLE events DETACH PARTITION {}").format(one.table))
                await self._connection.execute(SQL("DROP TABLE {}").format(one.table))
        return gone

    async def _check(self, one: Range, entries: Iterable[bytes]) -> None:
        """Holds a range against its seals; its memory grows with the number of streams in it."""
        latest: dict[bytes, bytes] = {}
        done, source = one.first - 1, iter(entries)
        while page := list(islice(source, PAGE)):
            began: dict[bytes, int] = {}
            for entry in page:
                if (stream := stream_of(entry)) not in latest:
                    began.setdefault(stream, version_of(entry))
            latest |= await self._ledger.previous(began)
            hashes = chained(page, latest)
            if position_of(page[0]) != done + 1 or hashes != list(await self._ledger.hashes(0, done, done + len(page))):
                raise EvidenceBroken(f"the events from {done + 1} to {done + len(page)} are not what was sealed")
            done += len(page)
            self._progress(done - one.first + 1, one.last - one.first + 1)
        if done != one.last:
            raise EvidenceBroken(f"the range ends at {done} and not at {one.last}")

    async def _run(self, query: sql.Text, *values: object) -> None:
        await self._connection.execute(query, values or None)


class WholeLedger(PostgresLedger):
    """A ledger whose detached events come from their files."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        super().__init__(connection)
        self._entries, self._last = Entries([]), 0

    async def look(self, folder: Path | None = None) -> None:
        """Finds the files of what is detached. Raises `RangeRefused`."""
        gone = [one for one in await ranges(self._connection) if one.file is not None]
        self._entries = Entries([one.found(folder) for one in gone])
        self._last = gone[-1].last if gone else 0

    async def entries(self, after: int, limit: int) -> Sequence[bytes]:
        if after >= self._last or not self._last:
            return await super().entries(after, limit)
        found = self._entries.after(max(0, after), limit)
        more = await super().entries(self._last, limit - len(found)) if len(found) < limit else ()
        return [*found, *more]


@contextmanager
def refusals() -> Iterator[None]:
    """Raises `RangeRefused` when somebody works on the log all the time, else `StoreUnavailable`."""
    try:
        yield
    except LockNotAvailable:
        raise RangeRefused(f"the log was in use for {LOCK_SECONDS} s without a pause; try again") from None
    except psycopg.Error as error:
        raise StoreUnavailable(sentence(error)) from error
