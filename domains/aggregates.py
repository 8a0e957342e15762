"""Loads aggregates: from what was folded before, in this process or in a snapshot, and the events since then."""

import hashlib
import logging
import sys
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from domains.codec import decode
from domains.kernel import Domain
from eventstore.errors import EventStoreError
from eventstore.records import RecordedEvent, Snapshot
from eventstore.store import EventStore

PAGE = 1000
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Folded:
    """A state, the version it was folded to, and the position of its last event."""

    state: Any
    version: int = 0
    position: int = 0


@dataclass(frozen=True, slots=True)
class Hot:
    """An aggregate in memory, and how many bytes it was made from."""

    folded: Folded
    bytes: int


@dataclass(frozen=True, slots=True)
class Policy:
    """How many aggregates stay in memory, and after how many events a snapshot is kept; 0: never.

    `hot_bytes` bounds the memory as well, by the bytes of the events and snapshots that the states were made from.
    """

    hot: int = 10_000
    hot_bytes: int = 64 * 1024 * 1024
    snapshot_every: int = 100


class Aggregates:
    """The aggregates of one domain. What is in memory or in a snapshot only saves work: each load asks the store for
    the events after it. A snapshot that another fold made, or that can't be read, is passed over."""

    def __init__(self, domain: Domain, store: EventStore, policy: Policy | None = None) -> None:
        self._domain, self._store, self._policy = domain, store, policy or Policy()
        self._hot: OrderedDict[str, Hot] = OrderedDict()
        self._bytes = 0
        self._type = f"{domain.name}.{fold_version(domain)}"
        self._keeps = self._policy.snapshot_every > 0 and isinstance(domain.decider.initial, BaseModel)

    @property
    def nothing(self) -> Folded:
        """What there is before the first event."""
        return Folded(self._domain.decider.initial)

    async def load(self, stream: str) -> Folded:
        start, size, page = await self._begin(stream)
        folded = start
        while page:
            folded = self._fold(folded, page)
            size += sum(len(event.data) for event in page)
            page = await self._store.read_stream(stream, after=folded.version, limit=PAGE) if len(page) == PAGE else []
        self._remember(stream, Hot(folded, size))
        every = self._policy.snapshot_every
        if self._keeps and folded.version // every > start.version // every:
            await self._keep(stream, folded)
        return folded

    async def _begin(self, stream: str) -> tuple[Folded, int, Sequence[RecordedEvent]]:
        """What is known already, from how many bytes it was made, and the first events after it."""
        known = self._hot.get(stream)
        if known is None and self._keeps:
            kept, page = await self._store.read_from_snapshot(stream, self._type, limit=PAGE)
            if kept is None:
                return self.nothing, 0, page
            if (restored := self._restored(kept)) is not None:
                return restored, len(kept.data), page
        folded, size = (known.folded, known.bytes) if known else (self.nothing, 0)
        return folded, size, await self._store.read_stream(stream, after=folded.version, limit=PAGE)

    def _fold(self, folded: Folded, page: Iterable[RecordedEvent]) -> Folded:
        state = folded.state
        for recorded in page:
            state = self._domain.decider.evolve(state, decode(self._domain, recorded))
            folded = Folded(state, recorded.version, recorded.position)
        return folded

    def _remember(self, stream: str, hot: Hot) -> None:
        self._forget(stream)
        if hot.folded.version and self._policy.hot and hot.bytes <= self._policy.hot_bytes:
            self._hot[stream] = hot
            self._bytes += hot.bytes
            while len(self._hot) > self._policy.hot or self._bytes > self._policy.hot_bytes:
                self._forget(next(iter(self._hot)))

    def _forget(self, stream: str) -> None:
        if (gone := self._hot.pop(stream, None)) is not None:
            self._bytes -= gone.bytes

    def _restored(self, kept: Snapshot) -> Folded | None:
        """The state of a snapshot, if it can still be read."""
        try:
            told = from_json(kept.data)
            state = type(self._domain.decider.initial).model_validate_json(told["state"])
            return Folded(state, kept.version, int(told["position"]))
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            log.warning("the snapshot of %s at %d is passed over: %s", kept.stream, kept.version, error)
            return None

    async def _keep(self, stream: str, folded: Folded) -> None:
        data = Kept(position=folded.position, state=folded.state.model_dump_json()).model_dump_json().encode()
        try:
            await self._store.keep_snapshot(Snapshot(stream, folded.version, self._type, data))
        except EventStoreError as error:
            log.warning("no snapshot of %s at %d: %s", stream, folded.version, error)


class Kept(BaseModel):
    """What a snapshot holds."""

    position: int
    state: str


def fold_version(domain: Domain) -> str:
    """What changes when the fold changes: the decider's `version`, or a digest of the domain's modules."""
    if domain.decider.version is not None:
        return domain.decider.version
    parts = (domain.decider.evolve, *domain.events.values(), *(upcaster.change for upcaster in domain.upcasters))
    packages = {part.__module__.rpartition(".")[0] or part.__module__ for part in parts}
    digest = hashlib.sha256()
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and any(name == package or name.startswith(f"{package}.") for package in packages):
            digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:16]
