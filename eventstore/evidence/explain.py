"""What was done to the log where it does not fit its seal."""

from collections.abc import Sequence
from dataclasses import dataclass

from eventstore.evidence.chain import FIRST, hash_of, placed_at, position_of, stream_of
from eventstore.evidence.checkpoint import Checkpoint
from eventstore.evidence.ledger import Seal, cut
from eventstore.evidence.merkle import Tree

Latest = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Fault:
    """The first bad position, or the span `position … until` in which it lies, and what was found there.

    `reason` is one of
    missing    events were removed                    edited     an event is not what was sealed
    inserted   an event stands there that was not     reordered  what was sealed there stands elsewhere
    doubled    two events have one position           cut        the end of the log was removed
    rewritten  events and hashes were both changed    forged     a seal or checkpoint is not signed by us
    evidence   seals or nodes were changed, the events are intact
    forked     two signed checkpoints contradict each other
    """

    position: int
    until: int
    reason: str
    detail: str


class Found(Exception):
    """A walk through the log ends at its first fault."""

    def __init__(self, position: int, until: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.fault = Fault(position, until, reason, detail)


def changed(
    seals: Sequence[Seal], signed: Checkpoint | str, before: Tree, latest: Latest, entries: Sequence[bytes]
) -> Found:
    """Why the first of these seals is not of these entries, of which the first should be the first that it seals.

    `signed` is its checkpoint, or why it can't be trusted; `before` and `latest` are tree and streams before it.
    """
    seal = seals[0]
    sealed = cut(b"".join(each.hashes for each in seals))
    if (fault := distrusted(seal, signed, before, latest, entries)) is not None:
        return fault
    for index, entry in enumerate(entries):
        found = hashed(entry, latest)
        if index == len(sealed) or found != sealed[index]:
            return at(seal.after + index + 1, entries[index:], sealed[index:], latest)
        latest[stream_of(entry)] = found
    end = seal.after + len(entries)
    return Found(end + 1, seals[-1].size, "cut", f"the log ends at {end}, and {seals[-1].size} events were sealed")


def distrusted(
    seal: Seal, signed: Checkpoint | str, before: Tree, latest: Latest, entries: Sequence[bytes]
) -> Found | None:
    """Why the hashes of a seal themselves can't be trusted, or None."""
    if isinstance(signed, str):
        return Found(seal.after + 1, seal.size, "forged", f"their seal can't be trusted: {signed}")
    tree, held = before.copy(), cut(seal.hashes)
    for each in held:
        tree.add(each)
    if tree.root() == signed.root:
        return None
    tree, latest, differing = before.copy(), dict(latest), seal.size
    for position, (entry, known) in enumerate(zip(entries, held, strict=False), seal.after + 1):
        found = latest[stream_of(entry)] = hashed(entry, latest)
        tree.add(found)
        if found != known:
            differing = min(differing, position)
    if tree.root() == signed.root:
        return Found(differing, differing, "evidence", "its hash was changed; the event is what was signed")
    return Found(differing, seal.size, "rewritten", "neither the events nor their hashes are what was signed")


def at(position: int, entries: Sequence[bytes], sealed: Sequence[bytes], latest: Latest) -> Found:
    """What happened at the first position whose event is not the sealed one."""
    stands = position_of(entries[0])
    if stands > position:
        return Found(position, stands - 1, "missing", f"after {position - 1} comes {stands}")
    if stands < position:
        reason = "doubled" if stands > 0 else "inserted"
        return Found(stands, stands, reason, f"an event at {stands} follows the one at {position - 1}")
    if not sealed:
        return Found(position, position, "inserted", "an event stands beyond what was sealed")
    return among(position, entries, sealed, latest)


def among(position: int, entries: Sequence[bytes], sealed: Sequence[bytes], latest: Latest) -> Found:
    """Looks for what was sealed among the events that follow."""
    entry = entries[0]
    original = next((n for n, each in enumerate(entries) if hashed(placed_at(position, each), latest) == sealed[0]), 0)
    fits_next = len(sealed) > 1 and any(
        hash_of(previous, placed_at(position + 1, entry)) == sealed[1]
        for previous in (latest.get(stream_of(entry), FIRST), sealed[0])
    )
    if original and (original > 1 or fits_next):
        return Found(position, position, "reordered", f"what was sealed here stands at {position + original}")
    if original:
        return Found(position, position, "inserted", "what was sealed here and all after it stands one further on")
    if fits_next:
        return Found(position, position, "missing", "what was sealed here is gone, and all after it moved up")
    return Found(position, position, "edited", "the event is not what was sealed")


def hashed(entry: bytes, latest: Latest) -> bytes:
    return hash_of(latest.get(stream_of(entry), FIRST), entry)
