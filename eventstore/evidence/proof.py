"""Proofs for single events: they hold without the store, and need nothing but the key that signs its checkpoints."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from eventstore.errors import EvidenceBroken, NotSealed
from eventstore.evidence import merkle
from eventstore.evidence.chain import FIRST, hash_of, position_of, shown, stream_of, version_of
from eventstore.evidence.checkpoint import Checkpoint, opened
from eventstore.evidence.ledger import Ledger, around
from eventstore.evidence.merkle import HASH_BYTES
from infra.notes import Keys

Proof = Mapping[str, Any]


async def prove(ledger: Ledger, keys: Keys, origin: str, position: int, since: str | None = None) -> Proof:
    """The proof that an event stands in the log of the last seal, and that this goes on from the checkpoint `since`.

    Raises `NotSealed`, and `EvidenceBroken` when the event is not what was sealed, or the log does not go on so.
    """
    last, found = await ledger.last(), await ledger.entries(position - 1, 1)
    if last is None or position > last.size:
        raise NotSealed(position, last.size if last else 0)
    if not found or position_of(found[0]) != position:
        raise EvidenceBroken(f"there is no event at position {position}, and one was sealed")
    entry, stream = found[0], stream_of(found[0])
    previous = (await ledger.previous({stream: version_of(entry)})).get(stream, FIRST)
    old = None if since is None else opened(since, keys, origin)
    if old is not None and old.size > last.size:
        raise EvidenceBroken(f"the checkpoint covers {old.size} events, the seals end at {last.size}: the tail was cut")
    leaves = [] if old is None else [old.size - 1, old.size]
    nodes = await around(ledger, last.size, position - 1, *leaves)
    proof: dict[str, Any] = {
        "event": shown(entry),
        "entry": base64.b64encode(entry).decode(),
        "previous": previous.hex(),
        "inclusion": [each.hex() for each in merkle.inclusion(nodes, position - 1, last.size)],
        "checkpoint": last.note,
    }
    if old is not None and old.size > 0:
        between = [each.hex() for each in merkle.consistency(nodes, old.size, last.size)]
        proof |= {"since": since, "consistency": between}
    check(proof, keys, origin)
    return proof


def check(proof: Proof, keys: Keys, origin: str | None = None) -> Checkpoint:
    """The checkpoint that covers the event. Raises `EvidenceBroken` with what does not hold."""
    try:
        entry = base64.b64decode(proof["entry"], validate=True)
        previous, path = bytes.fromhex(proof["previous"]), hashes(proof["inclusion"])
        position, same = position_of(entry), shown(entry) == proof["event"]
        note, since, between = proof["checkpoint"], proof.get("since"), hashes(proof.get("consistency", []))
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error):
        raise EvidenceBroken("it is no proof") from None
    if not same:
        raise EvidenceBroken("the event that is shown is not the one that is proven")
    covering = opened(note, keys, origin)
    if not merkle.included(hash_of(previous, entry), position - 1, covering.size, path, covering.root):
        raise EvidenceBroken(f"the event is not at position {position} of the log that the checkpoint covers")
    if since is not None:
        old = opened(since, keys, covering.origin)
        if not merkle.consistent(old.size, old.root, covering.size, covering.root, between):
            raise EvidenceBroken(f"the log does not go on from the checkpoint of {old.size} events")
    return covering


def hashes(texts: Sequence[str]) -> list[bytes]:
    found = [bytes.fromhex(text) for text in texts]
    if any(len(each) != HASH_BYTES for each in found):
        raise ValueError("no hash")
    return found
