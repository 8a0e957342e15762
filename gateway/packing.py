"""Answers that are packed for those who take gzip. No secret stands in a body, so its length gives none away."""

import re
import zlib

SMALLEST = 1024
LEVEL = 4
GZIP = 31
TYPES = (b"application/json", b"application/openapi+json")
TAKEN = re.compile(rb"(?:^|,)\s*(?:gzip|\*)\s*(?:;\s*q\s*=\s*(0(?:\.[0-9]*)?|1(?:\.0*)?)\s*)?(?=,|$)", re.IGNORECASE)

Headers = list[tuple[bytes, bytes]]


def takes_gzip(headers: Headers) -> bool:
    """Whether `Accept-Encoding` allows it."""
    accepted = b",".join(value for name, value in headers if name == b"accept-encoding")
    found = TAKEN.search(accepted)
    return found is not None and float(found[1] or 1) > 0


def packed(headers: Headers, body: bytes) -> tuple[Headers, bytes]:
    """The answer as gzip, if that is worth it. Its strong tag becomes weak: the bytes are others."""
    kind = next((value for name, value in headers if name == b"content-type"), b"").partition(b";")[0]
    if len(body) < SMALLEST or kind not in TYPES:
        return headers, body
    small = zlib.compress(body, LEVEL, GZIP)
    changed = [(name, b"W/" + value if name == b"etag" and value[:1] == b'"' else value) for name, value in headers]
    return [*changed, (b"content-encoding", b"gzip")], small
