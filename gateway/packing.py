"""Answers that are packed for those who take gzip. No secret stands in a body, so its length gives none away."""

import re
import zlib

SMALLEST = 1024
LEVEL = 4
GZIP = 31
TYPES = (b"application/json", b"application/openapi+json")
WEIGHT = rb"\s*(?:;\s*q\s*=\s*(0(?:\.[0-9]*)?|1(?:\.0*)?)\s*)?(?=,|$)"
GZIPPED = re.compile(rb"(?:^|,)\s*gzip" + WEIGHT, re.IGNORECASE)
ANYTHING = re.compile(rb"(?:^|,)\s*\*" + WEIGHT)
AS_IT_IS = b"no-transform"

Headers = list[tuple[bytes, bytes]]


def takes_gzip(headers: Headers) -> bool:
    """Whether `Accept-Encoding` allows it."""
    accepted = b",".join(value for name, value in headers if name == b"accept-encoding")
    found = GZIPPED.search(accepted) or ANYTHING.search(accepted)
    return found is not None and float(found[1] or 1) > 0


def packed(headers: Headers, body: bytes) -> tuple[Headers, bytes]:
    """The answer as gzip, if that is worth it. Its strong tag becomes weak: the bytes are others."""
    kind = next((value for name, value in headers if name == b"content-type"), b"").partition(b";")[0]
    if len(body) < SMALLEST or kind not in TYPES:
        return headers, body
    if any(name == b"cache-control" and AS_IT_IS in value for name, value in headers):
        return headers, body
    small = zlib.compress(body, LEVEL, GZIP)
    changed = [(name, b"W/" + value if name == b"etag" and value[:1] == b'"' else value) for name, value in headers]
    return [*changed, (b"content-encoding", b"gzip")], small
