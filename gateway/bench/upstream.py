"""python -m gateway.bench.upstream: a service that gives each request the same answer, with mutual TLS.

With `--rate` it can do so many a second, one after the other, and what comes meanwhile waits.
"""

import argparse
import asyncio
import re
import ssl
from collections.abc import Callable
from functools import partial

import uvloop

from infra import settings
from infra.web import tls

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
BODY = b'{"order":"bench","version":1,"status":"placed","total":"15.30","currency":"GBP","lines":1}'
ANSWER = b"\r\n".join(
    (
        b"HTTP/1.1 201 Created",
        b"content-type: application/json",
        b"content-length: %d" % len(BODY),
        b'etag: "1"',
        b"location: /v1/bench/bench-1/events",
        b"consistency-token: b3JkZXJzOm9yZGVycy0xOjE",
        b"x-request-id: 3f1c0f5de7a94b0fa7e5a3a4b7d91c5e",
        b"x-content-type-options: nosniff",
        b"",
        BODY,
    )
)


class Pace:
    """When the next answer is ready."""

    def __init__(self, rate: float) -> None:
        self._each, self._free = 1 / rate, 0.0

    def after(self, answer: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._free = max(self._free, loop.time()) + self._each
        loop.call_at(self._free, answer)


class Answering(asyncio.Protocol):
    def __init__(self, pace: Pace | None) -> None:
        self._pace, self._heard = pace, b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard += data
        while (end := self._heard.find(HEAD_END)) >= 0:
            length = LENGTH.search(self._heard, 0, end)
            whole = end + len(HEAD_END) + (int(length[1]) if length else 0)
            if len(self._heard) < whole:
                return
            self._heard = self._heard[whole:]
            if self._pace is None:
                self._transport.write(ANSWER)
            else:
                self._pace.after(partial(self._transport.write, ANSWER))


async def main(rate: float | None) -> None:
    told = settings.load()
    pace = Pace(rate) if rate else None
    context = tls.server(told, ssl.CERT_REQUIRED)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(pace), told.host, told.api_port, ssl=context)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float)
    uvloop.run(main(parser.parse_args().rate))
