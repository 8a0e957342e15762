"""Where seals are kept, beside the log that they seal: the port, and its twin in memory."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from eventstore.errors import SealedElsewhere
from eventstore.evidence import merkle
from eventstore.evidence.chain import entry
from eventstore.evidence.merkle import HASH_BYTES, Node
from eventstore.store import EventStore

Versions = Mapping[bytes, int]


@dataclass(frozen=True, slots=True)
class Seal:
    """The hashes of the events with `after < position <= size`, and the signed checkpoint of the tree of `size`."""

    after: int
    size: int
    hashes: bytes
    note: str


class Ledger(Protocol):
    """The log as it is stored, and its seals. Raises `StoreUnavailable`."""

    async def head(self) -> int:
        """The position that the store gave last."""

    async def entries(self, after: int, limit: int) -> Sequence[bytes]:
        """The entries of events with `position > after`, in position order, at most `limit`."""

    async def previous(self, versions: Versions) -> Mapping[bytes, bytes]:
        """In each stream the sealed hash of the event before this version; streams that begin there are left out."""

    async def seals(self, after: int, limit: int) -> Sequence[Seal]:
        """Seals with `size > after`, in order, at most `limit`."""

    async def last(self) -> Seal | None:
        """The last seal."""

    async def hashes(self, level: int, first: int, end: int) -> Sequence[bytes]:
        """The kept nodes of a level with `first <= number < end`; level 0 are the hashes of the events."""

    async def nodes(self) -> Mapping[Node, bytes]:
        """Every kept node above level 0."""

    async def add(self, seal: Seal, nodes: Mapping[Node, bytes]) -> None:
        """Record a seal and its nodes, or neither. Raises `SealedElsewhere` unless it begins where the last ends."""


async def around(ledger: Ledger, size: int, *leaves: int) -> dict[Node, bytes]:
    """The kept nodes that roots and proofs about these leaves take."""
    found: dict[Node, bytes] = {}
    for level, first, end in merkle.needed(size, *leaves):
        hashes = await ledger.hashes(level, first, end)
        found |= {(level, number): each for number, each in enumerate(hashes, first)}
    return found


class MemoryLedger:
    """Seals for tests and examples, beside a store in memory."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self.sealed: list[Seal] = []
        self.kept: dict[Node, bytes] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator["MemoryLedger"]:
        yield self

    async def head(self) -> int:
        return await self._store.head()

    async def entries(self, after: int, limit: int) -> Sequence[bytes]:
        return [entry(event) for event in await self._store.read_log(after=after, limit=limit)]

    async def previous(self, versions: Versions) -> Mapping[bytes, bytes]:
        found = {}
        for stream, version in versions.items():
            before = await self._store.read_stream(stream.decode(), after=version - 2, until=version - 1)
            if before:
                [found[stream]] = await self.hashes(0, before[-1].position - 1, before[-1].position)
        return found

    async def seals(self, after: int, limit: int) -> Sequence[Seal]:
        return [seal for seal in self.sealed if seal.size > after][:limit]

    async def last(self) -> Seal | None:
        return self.sealed[-1] if self.sealed else None

    async def hashes(self, level: int, first: int, end: int) -> Sequence[bytes]:
        if level:
            return [self.kept[level, number] for number in range(first, end) if (level, number) in self.kept]
        whole = b"".join(seal.hashes for seal in self.sealed)[first * HASH_BYTES : end * HASH_BYTES]
        return cut(whole)

    async def nodes(self) -> Mapping[Node, bytes]:
        return dict(self.kept)

    async def add(self, seal: Seal, nodes: Mapping[Node, bytes]) -> None:
        if seal.after != (self.sealed[-1].size if self.sealed else 0):
            raise SealedElsewhere(f"positions after {seal.after} are sealed")
        self.sealed.append(seal)
        self.kept |= nodes


def cut(hashes: bytes) -> list[bytes]:
    return [hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES)]
