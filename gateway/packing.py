"""Answers that are packed for those who take gzip. No secret stands in a body, so its length gives none away."""

import re
import zlib
from functools import lru_cache

SMALLEST = 1024
MOST_KINDS = 256  # of clients: what one takes is the same in each of its requests
LEVEL = 4
GZIP = 31
TYPES = (b"application/json", b"application/openapi+json")
WEIGHT = rb"\s*(?:;\s*q\s*=\s*(0(?:\.[0-9]*)?|1(?:\.0*)?)\s*)?(?=,|$)"
GZIPPED = re.compile(rb"(?:^|,)\s*gzip" + WEIGHT, re.IGNORECASE)
ANYTHING = re.compile(rb"(?:^|,)\s*\*" + WEIGHT)
AS_IT_IS = b"no-transform"
JSON = TYPES[0]
ENCODED = (b"content-encoding", b"gzip")

Headers = list[tuple[bytes, bytes]]


def takes_gzip(headers: Headers) -> bool:
    """Whether `Accept-Encoding` allows it."""
    return gzip_in(b",".join([value for name, value in headers if name == b"accept-encoding"]))


@lru_cache(MOST_KINDS)
def gzip_in(accepted: bytes) -> bool:
    found = GZIPPED.search(accepted) or ANYTHING.search(accepted)
    return found is not None and float(found[1] or 1) > 0


def packable(headers: Headers, kind: bytes = b"") -> bool:
    """Whether an answer with this head may be packed; `kind` is what it is of when it does not say so."""
    kind = next((value for name, value in headers if name == b"content-type"), kind).partition(b";")[0]
    return kind in TYPES and not any(name == b"cache-control" and AS_IT_IS in value for name, value in headers)


def weakened(headers: Headers) -> Headers:
    """The head with a weak tag: who takes gzip may get other bytes than who does not."""
    return [(name, b"W/" + value if name == b"etag" and value[:1] == b'"' else value) for name, value in headers]


def packed(headers: Headers, body: bytes) -> tuple[Headers, bytes]:
    """An answer for who takes gzip, packed if that is worth it."""
    if not packable(headers):
        return headers, body
    headers = weakened(headers)
    if len(body) < SMALLEST:
        return headers, body
    return [*headers, ENCODED], zlib.compress(body, LEVEL, GZIP)


class Packer:
    """Packs a body as it comes."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)

    def some(self, part: bytes) -> bytes:
        """What can go on by now; it may be nothing."""
        return self._rest.compress(part)

    def end(self) -> bytes:
        return self._rest.flush()
