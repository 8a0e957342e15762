"""The data keys on PostgreSQL, wrapped by keys that PostgreSQL never has."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

from psycopg.errors import ForeignKeyViolation
from psycopg.types.json import Jsonb

from eventstore import sql
from eventstore.errors import KeyMissing, StoreUnavailable
from eventstore.limits import FIELD_LENGTH, check_text
from eventstore.personal.keyring import Keyring
from eventstore.personal.keys import Tombstone, there
from eventstore.personal.sealing import NOBODY, DataKey
from eventstore.readers import Readers

CURRENT, WRAPPER, MAKE, FIND, FORGET, MARKED, UNLOCKED, DESTROY = (
    sql.statement(f"key_{name}")
    for name in ("current", "wrapper", "make", "find", "forget", "marked", "unlocked", "destroy")
)
ATTEMPTS = 5


class PostgresKeys:
    """The keys of one store, whose tables `python -m eventstore.personal migrate` made."""

    def __init__(self, conninfo: str, keyring: Path) -> None:
        self._readers, self._keyring = Readers(conninfo), Keyring(keyring)

    @classmethod
    @asynccontextmanager
    async def open(cls, conninfo: str, keyring: Path) -> AsyncIterator["PostgresKeys"]:
        """The keys for the time of a `with`. They open even while the database is down."""
        keys = cls(conninfo, keyring)
        try:
            yield keys
        finally:
            await keys._readers.close()

    async def current(self, subject: str) -> DataKey:
        check_text("a subject", subject, FIELD_LENGTH)
        for _ in range(ATTEMPTS):
            for _, key, _ in await self._rows(CURRENT, subject=subject):
                if key is not None:
                    return key
            await self._make(subject)
        raise StoreUnavailable(f"no key could be made for {subject!r}: the keys that wrap it are rotated all the time")

    async def _make(self, subject: str) -> None:
        """Unless somebody else made one, or the key that wraps it was rotated away meanwhile."""
        rows = await self._readers.fetch(WRAPPER)
        if not rows:
            raise KeyMissing("there is no key to wrap data keys with")
        made = DataKey.generate()
        wrapped = self._keyring.wrap(rows[0][0], made, subject)
        told = {"id": made.id, "subject": subject, "wrapped_by": rows[0][0], "wrapped": wrapped}
        try:
            await self._readers.fetch(MAKE, told)
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, ForeignKeyViolation):
                raise

    async def find(self, ids: Collection[UUID]) -> Mapping[UUID, DataKey | None]:
        found = {id: None if forgotten else key for id, key, forgotten in await self._rows(FIND, ids=list(ids))}
        return {id: None if id == NOBODY else there(id, found) for id in ids}

    async def forget(self, subject: str, by: str, why: str) -> None:
        await self._readers.fetch(FORGET, {"subject": subject, "by": by, "why": why})

    async def marked(self, subject: str) -> list[Tombstone]:
        return [Tombstone(*row) for row in await self._readers.fetch(MARKED, {"subject": subject})]

    async def unlocked(self, subject: str) -> list[DataKey]:
        return [key for _, key, _ in await self._rows(UNLOCKED, subject=subject) if key is not None]

    async def destroy(self, subject: str, searched: Mapping[str, Any]) -> None:
        await self._readers.fetch(DESTROY, {"subject": subject, "searched": Jsonb(dict(searched))})

    async def _rows(self, query: LiteralString, **asked: object) -> list[tuple[UUID, DataKey | None, bool]]:
        """Data keys, unwrapped as far as they are there, and whether they are forgotten."""
        rows = await self._readers.fetch(query, asked)
        try:
            return [self._opened(*row) for row in rows]
        except KeyMissing:
            # It may have been wrapped anew since it was read.
            return [self._opened(*row) for row in await self._readers.fetch(query, asked)]

    def _opened(
        self, id: UUID, subject: str, by: UUID | None, wrapped: bytes, forgotten: bool
    ) -> tuple[UUID, DataKey | None, bool]:
        return id, None if by is None else self._keyring.unwrap(by, id, subject, wrapped), forgotten
