"""Answers that stay the same for as long as the process runs: packed once, and not sent again to who has them."""

import zlib
from asyncio import to_thread
from collections.abc import Mapping
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
        self._packed: bytes | None = None

    async def answer(self, request: Request) -> Response:
        """200 with the body, packed for who takes that; 304 to who has it."""
        if self._packed is None:
            # In a thread: the largest takes longer than requests of others should wait.
            self._packed = await to_thread(smaller, self._body)
        packs = bool(self._packed)
        takes = packs and takes_gzip(request.scope["headers"])
        tag = f"W/{self._tag}" if takes else self._tag
        headers = {**self._headers, "etag": tag, **({"vary": "accept-encoding"} if packs else {})}
        known = {
            one.strip().removeprefix("W/") for one in ",".join(request.headers.getlist("if-none-match")).split(",")
        }
        if known & {self._tag, "*"}:
            return Response(status_code=304, headers=headers)
        if takes:
            return Response(self._packed, headers={**headers, "content-encoding": "gzip"}, media_type=self._kind)
        return Response(self._body, headers=headers, media_type=self._kind)


def smaller(body: bytes) -> bytes:
    """A body packed, or nothing if that is not worth it."""
    if len(body) < SMALLEST:
        return b""
    packed = zlib.compress(body, BEST, GZIP)
    return packed if len(packed) < WORTH_IT * len(body) else b""
