"""Answers that stay the same for as long as the process runs: packed once, and not sent again to who has them."""

import zlib
from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b

from fastapi import Request, Response

from gateway.packing import GZIP, SMALLEST, takes_gzip

CACHED = {"cache-control": "public, max-age=300"}
BEST = 9
WORTH_IT = 0.9  # a picture is packed already


class Kept:
    """A body that everybody gets, with a tag that is strong for who gets it as it is."""

    def __init__(self, body: bytes, kind: str, headers: Mapping[str, str] = CACHED) -> None:
        self._body, self._kind, self._headers = body, kind, headers
        self._tag = f'"{blake2b(body, digest_size=16).hexdigest()}"'

    def answer(self, request: Request) -> Response:
        """200 with the body, packed for who takes that; 304 to who has it."""
        takes = takes_gzip(request.scope["headers"])
        tag = f"W/{self._tag}" if takes and self._packed else self._tag
        headers = {**self._headers, "etag": tag, **({"vary": "accept-encoding"} if self._packed else {})}
        known = {
            one.strip().removeprefix("W/") for one in ",".join(request.headers.getlist("if-none-match")).split(",")
        }
        if known & {self._tag, "*"}:
            return Response(status_code=304, headers=headers)
        if takes and self._packed:
            return Response(self._packed, headers={**headers, "content-encoding": "gzip"}, media_type=self._kind)
        return Response(self._body, headers=headers, media_type=self._kind)

    @cached_property
    def _packed(self) -> bytes:
        """Nothing if that is not worth it; made when it is asked for, since it takes longer than a start may."""
        if len(self._body) < SMALLEST:
            return b""
        packed = zlib.compress(self._body, BEST, GZIP)
        return packed if len(packed) < WORTH_IT * len(self._body) else b""
