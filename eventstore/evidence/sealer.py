"""Seals the log after the commit, and hands signed checkpoints to the witnesses."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from eventstore.errors import EventStoreError, EvidenceBroken, LogBroken, WitnessUnavailable
from eventstore.evidence.chain import chained, position_of, stream_of, version_of
from eventstore.evidence.checkpoint import Checkpoint, opened
from eventstore.evidence.ledger import Ledger, Seal, around
from eventstore.evidence.merkle import Tree, root_of
from eventstore.evidence.witness import Witness
from eventstore.lead import Lead, while_leading
from eventstore.store import EventStore
from eventstore.watch import HeadWatch
from infra.notes import Keys, Signer

log = logging.getLogger(__name__)

PAGE = 256
WAIT_SECONDS = 1.0
HEAR_SECONDS = 5.0
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)

Ledgers = Callable[[], AbstractAsyncContextManager[Ledger]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a seal waits for more events, and how long, or for how many events, a witness waits for a checkpoint."""

    gather_seconds: float = 0.5
    publish_seconds: float = 5.0
    publish_events: int = 10_000


class Sealer:
    """Goes on where the last seal ends. It signs nothing over a past that its last seal or a witness contradicts.

    A witness that can't be reached when it begins is asked before it is next given a checkpoint.
    """

    def __init__(
        self,
        origin: str,
        store: EventStore,
        ledgers: Ledgers,
        *,
        witnesses: Sequence[Witness],
        signer: Signer,
        lead: Lead,
        pace: Pace | None = None,
    ) -> None:
        self._pace = pace or Pace()
        self._origin, self._store, self._ledgers, self._lead = origin, store, ledgers, lead
        self._witnesses, self._signer, self._keys = witnesses, signer, Keys([signer.public])
        self._tree = Tree()
        self.last: Seal | None = None
        self.watch = HeadWatch()
        self._failures = 0
        self._reason: str | None = "the sealer has not begun"
        self._unpublished: dict[str, str] = {}

    @property
    def size(self) -> int:
        """The position up to which the log is sealed. Only the leader knows."""
        return self._tree.size

    def problem(self) -> str | None:
        """Why the log is not sealed or checkpoints are not kept, or None."""
        if self._lead.elsewhere:
            return None
        return self._reason or next(iter(self._unpublished.values()), None)

    async def run(self) -> None:
        """Seal until cancelled. Whatever fails, it begins anew from its last seal."""
        while True:
            try:
                async with self._lead.held() as leading, self._ledgers() as ledger:
                    await self._resume(ledger)
                    witnessing = [self._publish(ledger, witness) for witness in self._witnesses]
                    await while_leading(leading, self._seal(ledger), *witnessing)
            except EventStoreError as error:
                self._reason = str(error)
                log.warning("the sealer begins anew: %s", error)
            except Exception as error:
                self._reason = f"{type(error).__name__}: {error}"
                log.exception("the sealer begins anew after an unforeseen error")
            await asyncio.sleep(PAUSES[min(self._failures, len(PAUSES) - 1)])
            self._failures += 1

    async def _resume(self, ledger: Ledger) -> None:
        self.last = await ledger.last()
        size = self.last.size if self.last else 0
        try:
            self._tree = Tree.of(await around(ledger, size), size)
        except KeyError as error:
            raise EvidenceBroken(f"node {error} of the tree of {size} is missing") from None
        if self.last is not None:
            await self._agree(ledger, self.last.note, "the last seal")
        for witness in self._witnesses:
            with suppress(WitnessUnavailable, TimeoutError):
                async with asyncio.timeout(HEAR_SECONDS):
                    await self._heard(ledger, witness)
        self._reason = None

    async def _agree(self, ledger: Ledger, note: str, whose: str) -> Checkpoint:
        """Raise `EvidenceBroken` if a checkpoint of ours is not of the tree that the ledger holds."""
        try:
            kept = opened(note, self._keys, self._origin)
        except EvidenceBroken as error:
            raise EvidenceBroken(f"{whose} is not ours: {error}") from None
        size = self.size
        if kept.size > size:
            raise EvidenceBroken(f"{whose} covers {kept.size} events, the seals end at {size}: the tail was cut")
        try:
            root = root_of(await around(ledger, size, kept.size), 0, kept.size)
        except KeyError:
            root = b""
        if root != kept.root:
            raise EvidenceBroken(f"{whose} covers {kept.size} events, and the seals are not of these")
        return kept

    async def _seal(self, ledger: Ledger) -> None:
        while True:
            entries = await ledger.entries(self.size, PAGE)
            if entries:
                await self._add(ledger, entries)
            if len(entries) < PAGE:
                await self._store.wait_beyond(self.size, WAIT_SECONDS)
                await asyncio.sleep(self._pace.gather_seconds)

    async def _add(self, ledger: Ledger, entries: Sequence[bytes]) -> None:
        for expected, entry in enumerate(entries, self.size + 1):
            if position_of(entry) != expected:
                raise LogBroken(f"the log has position {position_of(entry)} where {expected} must stand")
        began: dict[bytes, int] = {}
        for entry in entries:
            began.setdefault(stream_of(entry), version_of(entry))
        hashes = chained(entries, dict(await ledger.previous(began)))
        tree = self._tree.copy()
        for each in hashes:
            tree.add(each)
        checkpoint = Checkpoint(self._origin, tree.size, tree.root(), datetime.now(UTC))
        seal = Seal(self.size, tree.size, b"".join(hashes), self._signer.sign(checkpoint.text))
        await ledger.add(seal, tree.kept)
        self._tree, self.last, self._failures = tree, seal, 0
        self.watch.rise(tree.size)

    async def _publish(self, ledger: Ledger, witness: Witness) -> None:
        """Keep a witness informed. While it can't be reached the log is sealed all the same, and `problem` says so."""
        kept = -1
        while True:
            try:
                if kept < 0:
                    kept = await self._heard(ledger, witness)
                kept = await self._keep(witness, kept)
                self._unpublished.pop(witness.name, None)
            except WitnessUnavailable as error:
                self._unpublished[witness.name] = str(error)
                kept = -1
                await asyncio.sleep(PAUSES[-1])

    async def _heard(self, ledger: Ledger, witness: Witness) -> int:
        note = await witness.latest()
        return 0 if note is None else (await self._agree(ledger, note, f"the last checkpoint of {witness.name}")).size

    async def _keep(self, witness: Witness, kept: int) -> int:
        """Hands over the last checkpoint if it is news, and waits for its next turn; the size that is kept."""
        last = self.last
        if last is not None and last.size > kept:
            await witness.keep(last.note)
            kept = last.size
        await self.watch.wait_beyond(kept + self._pace.publish_events - 1, self._pace.publish_seconds)
        return kept
