"""Checkpoints: what the tree over the log is, at a size, signed (the text of C2SP tlog-checkpoint in a signed note).

headrace/orders                                     origin: which log
6919                                                size: how many events the tree covers
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=        root of the tree
time 2026-11-25T08:00:00.000000+00:00               when it was made

— orders-write Az3grlgtzPICa5OS8npVmf1Myq/5IZ…      signer, key and signature
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime

from eventstore.errors import EvidenceBroken
from eventstore.evidence.merkle import HASH_BYTES
from infra.errors import NoteRefused
from infra.notes import Keys

TIME = "time "


@dataclass(frozen=True, slots=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes
    time: datetime

    @property
    def text(self) -> str:
        root = base64.b64encode(self.root).decode()
        moment = self.time.astimezone(UTC).isoformat(timespec="microseconds")
        return f"{self.origin}\n{self.size}\n{root}\n{TIME}{moment}\n"


def parsed(text: str) -> Checkpoint:
    """Raises `EvidenceBroken` for anything but what `Checkpoint.text` writes."""
    try:
        origin, size, root, time = text.splitlines()
        made = datetime.fromisoformat(time.removeprefix(TIME))
        found = Checkpoint(origin, int(size), base64.b64decode(root, validate=True), made)
        if found.text == text and len(found.root) == HASH_BYTES and found.size >= 0:
            return found
    except (ValueError, binascii.Error):
        pass
    raise EvidenceBroken("it is no checkpoint")


def opened(note: str, keys: Keys, origin: str | None = None) -> Checkpoint:
    """The checkpoint in a note that a trusted key has signed. Raises `EvidenceBroken`."""
    try:
        found = parsed(keys.opened(note))
    except NoteRefused as error:
        raise EvidenceBroken(str(error)) from None
    if origin is not None and found.origin != origin:
        raise EvidenceBroken(f"it is of {found.origin}, not of {origin}")
    return found
