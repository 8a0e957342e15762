"""One keep-alive connection to a service: HTTP/1.1, one exchange at a time, strict about what comes back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial

import httptools

from gateway.errors import BadAnswer, BrokenOff, TooSlow, UpstreamError
from infra.alarm import Alarm
from infra.turns import Turn, turn_of

HEAD_LIMIT = 32 * 1024
HIGH_WATER = 256 * 1024
VERSIONS = frozenset({"1.0", "1.1"})
FRAMING = frozenset({b"content-length", b"transfer-encoding"})
NO_BODY = frozenset({204, 304})

Headers = list[tuple[bytes, bytes]]


class Connection(asyncio.Protocol):
    """Answers are framed by a length or by chunks; whatever else a service sends ends the connection.

    `begun` says that the head of the answer is here, `complete` that all of it is, and `error` why there will be none;
    `wake` is called when something has come, one way or the other.
    """

    def __init__(self) -> None:
        self.status, self.headers = 0, Headers()
        self.idle_since = self.asked_at = 0.0
        self.reusable = True
        self._transport: asyncio.Transport | None = None
        self._late: Alarm | None = None
        self._turn: Turn | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self.error: UpstreamError | None = None
        self._parts: list[bytes] = []
        self._held = self._waited = 0
        self.begun = self.complete = self._paused = False
        self.wake: Callable[[], None] = nobody

    def send(self, request: bytes, deadline: float) -> None:
        """Sends a request whose answer must have begun at the deadline, in the loop's time."""
        self.status, self.headers, self._parts = 0, [], []
        self._held = self._waited = 0
        self.begun = self.complete = False
        if self._transport is None or self._turn is None or self._late is None or self._transport.is_closing():
            self._fail(BrokenOff("the connection was closed"))
            return
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._turn.write(self._transport, request)
        # What asyncio has for this costs more than all the rest of an exchange.
        self._late.set(deadline)

    async def answer(self) -> None:
        """Returns when the head of the answer is here. Raises `BrokenOff` or `BadAnswer`, or `TooSlow`."""
        while not self.begun and self.error is None:
            await self._next()
        if self.error is not None:
            raise self.error

    def take(self) -> bytes:
        """What is here of the body."""
        body, self._parts, self._held = b"".join(self._parts), [], 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return body

    async def rest(self, seconds: float) -> AsyncIterator[bytes]:
        """The rest of the body as it comes. Raises `TooSlow` if nothing comes for a while."""
        while not self.complete:
            try:
                async with asyncio.timeout(seconds):
                    while not self._parts and not self.complete and self.error is None:
                        await self._next()
            except TimeoutError:
                raise TooSlow("the answer stopped") from None
            if self.error is not None:
                raise self.error
            yield self.take()

    def close(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.close()

    def _next(self) -> asyncio.Future[None]:
        progress = asyncio.get_running_loop().create_future()
        self.wake = partial(come, progress)
        return progress

    def _fail(self, error: UpstreamError) -> None:
        self.error = self.error or error
        self.close()
        self.wake()

    def _came_too_late(self) -> None:
        self._fail(TooSlow("the answer did not come in time"))

    # What the transport tells.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        loop = asyncio.get_running_loop()
        self._late, self._turn = Alarm(loop, self._came_too_late), turn_of(loop)

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self.complete:
            self._fail(BadAnswer("the service sent what nobody asked for"))
            return
        if not self.begun:
            self._waited += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(BadAnswer("the service did not send valid HTTP"))
        if not self.begun and self._waited > HEAD_LIMIT:
            self._fail(BadAnswer("the head of the answer is too large"))
        self.wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # how it was lost makes no difference
        self.reusable = False
        if self._late is not None:
            self._late.stop()
        if not self.complete:
            self._fail(BrokenOff("the service broke the connection off"))

    # What the parser finds. An error raised here reaches `data_received`.

    def on_message_begin(self) -> None:
        if self.complete:
            raise BadAnswer("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.begun:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None  # noqa: S101  # it calls
        # What came until now is more than the head, and mostly little enough.
        if self._waited > HEAD_LIMIT and sum(len(name) + len(value) for name, value in self.headers) > HEAD_LIMIT:
            raise BadAnswer("the head of the answer is too large")
        status = self._parser.get_status_code()
        if status < 200:
            self.headers = []
            return
        self.status, told, keeps = status, dict(self.headers), self._parser.should_keep_alive()
        self.reusable = self.reusable and keeps
        # To ask for the version is dear, and in HTTP/1.1 alone a connection is kept without a word about it.
        if (b"connection" in told or not keeps) and self._parser.get_http_version() not in VERSIONS:
            raise BadAnswer("the service does not speak HTTP/1")
        if status not in NO_BODY and not framed(self.headers, told):
            raise BadAnswer("the end of the answer cannot be known")
        self.begun = True
        if self._late is not None:
            self._late.clear()

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._held += len(body)
        if self._held > HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self.complete = self.begun


def nobody() -> None:
    """Waits for a connection that nobody waits for."""


def come(progress: asyncio.Future[None]) -> None:
    if not progress.done():
        progress.set_result(None)


def framed(headers: Headers, told: Mapping[bytes, bytes]) -> bool:
    """Whether the head says, in exactly one way, where the body ends; `told` is the head without what stands twice."""
    if len(told) == len(headers) and b"transfer-encoding" not in told:
        return b"content-length" in told
    found = [header for header in headers if header[0] in FRAMING]
    return len(found) == 1 and (found[0][0] == b"content-length" or found[0][1].strip().lower() == b"chunked")
