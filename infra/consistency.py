"""The consistency token: what a writer gives a reader so that the reader sees the write. Opaque to clients.

A header may hold several, joined by commas: of several writes, streams and domains.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from zlib import crc32

import orjson

VERSION = b"\x01"
CHECKSUM_BYTES = 4
LONGEST = 1024
MOST = 64
LIMIT = 1 << 63


@dataclass(frozen=True, slots=True)
class ConsistencyToken:
    domain: str
    stream: str
    position: int


def encode(domain: str, stream: str, position: int) -> str:
    """The token that says: `stream` of `domain` has been written at `position`."""
    content = VERSION + orjson.dumps([domain, stream, position])
    return urlsafe_b64encode(checksum(content) + content).decode().rstrip("=")


def decode(token: str) -> ConsistencyToken:
    """What a token says. Raises `ValueError` for one that `encode` did not make."""
    if len(token) > LONGEST:
        raise ValueError("not a consistency token: too long")
    raw = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    check, content = raw[:CHECKSUM_BYTES], raw[CHECKSUM_BYTES:]
    if check != checksum(content) or content[:1] != VERSION:
        raise ValueError("not a consistency token of this system")
    match orjson.loads(content[1:]):
        case [str(domain), str(stream), int(position)] if 0 <= position < LIMIT:
            return genuine(ConsistencyToken(domain, stream, int(position)), token)
    raise ValueError("not a consistency token of this system")


def decode_all(given: str) -> list[ConsistencyToken]:
    """What the tokens of a header say. Raises `ValueError` if one of them is not ours, or if they are too many."""
    tokens = given.split(",", MOST)
    if len(tokens) > MOST:
        raise ValueError(f"more than {MOST} consistency tokens")
    return [decode(token.strip(" \t")) for token in tokens]


def genuine(found: ConsistencyToken, token: str) -> ConsistencyToken:
    """A token has one spelling only."""
    if encode(found.domain, found.stream, found.position) != token:
        raise ValueError("not a consistency token of this system")
    return found


def checksum(content: bytes) -> bytes:
    return crc32(content).to_bytes(CHECKSUM_BYTES)
