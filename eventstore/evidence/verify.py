"""Holds the log against its seals and against the checkpoints that were kept outside, and names the first fault."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from eventstore.errors import EvidenceBroken
from eventstore.evidence.chain import chained, position_of
from eventstore.evidence.checkpoint import Checkpoint, opened
from eventstore.evidence.explain import Fault, Found, changed
from eventstore.evidence.ledger import Ledger, Seal
from eventstore.evidence.merkle import HASH_BYTES, TILE, Node, Tree
from infra.notes import Keys

SEALS = 32
PAGE = 5000
AHEAD = 10_000
BEFORE = -(2**62)

Progress = Callable[[int, int], None]


def unheard(_events: int, _head: int) -> None:
    """For callers that wish to hear nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was held against what: `unsealed` events are newer than the last seal; `witnessed` events are covered by
    a checkpoint that was kept outside; `checkpoints` were found signed and right."""

    events: int
    unsealed: int
    witnessed: int
    checkpoints: int
    fault: Fault | None


async def verify(
    ledger: Ledger, keys: Keys, origin: str, witnessed: Iterable[str], progress: Progress = unheard
) -> Verdict:
    """`witnessed` are the notes of the witnesses, read before this is called. Raises `StoreUnavailable`."""
    walk = Walk(ledger, keys, origin, progress)
    fault = None
    try:
        await walk.run(witnessed)
    except Found as found:
        fault = found.fault
    except EvidenceBroken as error:
        fault = Fault(walk.tree.size + 1, walk.tree.size + 1, "evidence", str(error))
    return Verdict(walk.tree.size, walk.tree.size - walk.sealed, walk.witnessed, walk.checkpoints, fault)


class Walk:
    """One pass through the log, in position order. Its memory grows with the number of streams."""

    def __init__(self, ledger: Ledger, keys: Keys, origin: str, progress: Progress) -> None:
        self._ledger, self._keys, self._origin, self._progress = ledger, keys, origin, progress
        self._latest: dict[bytes, bytes] = {}
        self._due: deque[Checkpoint] = deque()
        self.tree = Tree()
        self.sealed = self.checkpoints = self.witnessed = 0

    async def run(self, witnessed: Iterable[str]) -> None:
        self._expect(witnessed)
        head = await self._ledger.head()
        while seals := await self._ledger.seals(self.sealed, SEALS):
            await self._group(seals)
            self._progress(self.tree.size, head)
        kept = dict(self.tree.kept)
        while entries := await self._entries(PAGE + 1):
            self._contiguous(entries)
            self._add(chained(entries[:PAGE], self._latest))
            self._progress(self.tree.size, head)
        await self._ends(head)
        await self._nodes(kept)

    def _expect(self, witnessed: Iterable[str]) -> None:
        """What the witnesses hold; two of them may not contradict each other."""
        known: dict[int, Checkpoint] = {}
        for note in witnessed:
            try:
                each = opened(note, self._keys, self._origin)
            except EvidenceBroken as error:
                raise Found(1, 1, "forged", f"a checkpoint that was kept outside can't be trusted: {error}") from None
            if known.setdefault(each.size, each).root != each.root:
                raise Found(1, each.size, "forked", f"two signed checkpoints of {each.size} events differ")
        self._due.extend(known[size] for size in sorted(known))
        self.witnessed = max(known, default=0)

    async def _entries(self, limit: int) -> Sequence[bytes]:
        return await self._ledger.entries(self.tree.size or BEFORE, limit)

    async def _group(self, seals: Sequence[Seal]) -> None:
        self._end_to_end(seals)
        first, end = self.sealed, seals[-1].size
        entries = await self._entries(end - first + 1)
        for seal in seals:
            if not self._hold(seal, entries[seal.after - first : seal.size - first]):
                rest = [each for each in entries[seal.after - first :] if position_of(each) <= end]
                rest += await self._ledger.entries(end, AHEAD)
                ahead = await self._ledger.seals(seal.after, SEALS)
                raise changed(ahead, self._signed(seal), self.tree, self._latest, rest)
        if len(entries) > end - first and position_of(entries[-1]) <= end:
            raise Found(end, end, "doubled", f"two events stand at {end}")

    def _end_to_end(self, seals: Sequence[Seal]) -> None:
        after = self.sealed
        for seal in seals:
            if seal.after != after or len(seal.hashes) != HASH_BYTES * (seal.size - after):
                said = f"no seal goes on after {after} with a hash for each event"
                raise Found(after + 1, max(after + 1, seal.size), "evidence", said)
            after = seal.size

    def _hold(self, seal: Seal, entries: Sequence[bytes]) -> bool:
        """Whether the entries have the hashes of their seal; then it must be signed, and its root be theirs."""
        undo: list[tuple[bytes, bytes | None]] = []
        hashes = chained(entries, self._latest, undo)
        if b"".join(hashes) != seal.hashes:
            rewind(self._latest, undo)
            return False
        signed = self._signed(seal)
        if isinstance(signed, str):
            raise Found(seal.after + 1, seal.size, "forged", f"their seal can't be trusted: {signed}")
        self._add(hashes)
        if self.tree.root() != signed.root:
            said = "events and hashes fit together, and are not what was signed"
            raise Found(seal.after + 1, seal.size, "rewritten", said)
        self.sealed, self.checkpoints = seal.size, self.checkpoints + 1
        return True

    def _signed(self, seal: Seal) -> Checkpoint | str:
        try:
            signed = opened(seal.note, self._keys, self._origin)
        except EvidenceBroken as error:
            return str(error)
        return signed if signed.size == seal.size else f"its note is of {signed.size} events"

    def _add(self, hashes: Sequence[bytes]) -> None:
        """Grows the tree, and holds its root against each checkpoint that comes due."""
        added = 0
        while self._due and self._due[0].size <= self.tree.size + len(hashes) - added:
            due = self._due.popleft()
            upto = added + due.size - self.tree.size
            for each in hashes[added:upto]:
                self.tree.add(each)
            added = upto
            if self.tree.root() != due.root:
                said = f"the checkpoint of {due.size} events that was kept outside is not of these events"
                raise Found(self.sealed + 1, due.size, "rewritten", said)
            self.checkpoints += 1
        for each in hashes[added:]:
            self.tree.add(each)

    def _contiguous(self, entries: Sequence[bytes]) -> None:
        for expected, entry in enumerate(entries, self.tree.size + 1):
            if (position := position_of(entry)) > expected:
                raise Found(expected, position - 1, "missing", f"after {expected - 1} comes {position}")
            if position < expected:
                reason = "doubled" if position > 0 else "inserted"
                raise Found(position, position, reason, f"an event at {position} follows {expected - 1}")

    async def _ends(self, head: int) -> None:
        """`head` was read before the log was; both only grow."""
        end, now = self.tree.size, await self._ledger.head()
        if end < max(head, self.witnessed):
            most = max(head, self.witnessed)
            raise Found(end + 1, most, "cut", f"the log ends at {end}, and there were {most} events")
        if end > now:
            raise Found(now + 1, end, "inserted", f"the store gave positions up to {now} only")
        if self.sealed < self.witnessed:
            said = f"the seals end at {self.sealed}; the events are those of the checkpoints that were kept outside"
            raise Found(self.sealed + 1, self.witnessed, "evidence", said)

    async def _nodes(self, kept: Mapping[Node, bytes]) -> None:
        held, last = await self._ledger.nodes(), await self._ledger.last()
        size = last.size if last else 0
        for node in sorted({*held, *kept}, key=lambda node: (node[1] << node[0], node)):
            level, number = node
            newer = self.sealed < (number + 1) << level <= size and level % TILE == 0
            if held.get(node) != kept.get(node) and not newer:
                first, until = (number << level) + 1, (number + 1) << level
                raise Found(first, until, "evidence", f"node {number} of level {level} was changed; the events are not")


def rewind(latest: dict[bytes, bytes], undo: Sequence[tuple[bytes, bytes | None]]) -> None:
    for stream, before in reversed(undo):
        if before is None:
            latest.pop(stream, None)
        else:
            latest[stream] = before
