"""uvicorn's exchange of one request and its answer, in one write: each costs a TLS record and a system call."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from infra.turns import Turn
from infra.web.problems import PHRASES

STATUS_LINE = {status: f"HTTP/1.1 {status} {PHRASES.get(status, '')}\r\n".encode() for status in range(100, 600)}
CONTROLS = bytes({*range(32), 127} - {9})
CLOSE, CHUNKED = (b"connection", b"close"), (b"transfer-encoding", b"chunked")
COLON = b": ".join
BODILESS = frozenset({204, 304})


class Cycle(RequestResponseCycle):
    """The head of an answer whose length is known waits for the first of its body; else it goes at once."""

    scope: Any
    _head = b""
    hand_over: Callable[[], None] | None = None
    """Set while it is answered without a task: has one go on with it."""
    _event: asyncio.Event | None = None
    more_body = True
    disconnected = response_started = response_complete = False

    def __init__(self, protocol: HttpToolsProtocol, scope: Any, turn: Turn, *, keep_alive: bool) -> None:
        # All that the class above has, which takes twice as long to be told it.
        self.scope, self.protocol, self.keep_alive, self._turn = scope, protocol, keep_alive, turn
        self.transport, self.flow, self.logger = protocol.transport, protocol.flow, protocol.logger
        self.waiting_for_100_continue, self.on_response = protocol.expect_100_continue, protocol.on_response_complete
        self.body = bytearray()

    @property
    def message_event(self) -> asyncio.Event:  # type: ignore[override]
        """Set when there is something to receive. Who is answered without a task never waits, and never has it."""
        if self._event is None:
            self._event = asyncio.Event()
            if self.body or not self.more_body or self.disconnected or self.response_complete:
                self._event.set()
        return self._event

    def came(self) -> None:
        """There is something to receive."""
        if self._event is not None:
            self._event.set()

    def start(self) -> None:
        """Has a task answer it."""
        self.protocol._start_asgi_task(self, self.protocol.app)  # noqa: SLF001

    def respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, more: bytes = b"") -> None:
        """Sends a whole answer without waiting for anything, or to nobody if the client has gone.

        Its headers say how long it is; `more` are such as are written out already. Raises `RuntimeError` for one that
        would be more than one.
        """
        self.hand_over = None
        if self.disconnected:
            return
        lines = one_each(headers if self.keep_alive else [*headers, CLOSE])
        self.response_started = self.response_complete = True
        body = b"" if self.scope["method"] == "HEAD" else body
        self._last(b"%b%b%b\r\n%b" % (STATUS_LINE[status], lines, more, body))

    async def receive(self) -> Any:
        if self.more_body or self.disconnected or self.response_complete or not self.message_event.is_set():
            return await super().receive()
        body, self.body = bytes(self.body), bytearray()
        self.flow.resume_reading()
        self.message_event.clear()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            self._begin(message["status"], message["headers"])
        else:
            self._go_on(message.get("body", b""), more=message.get("more_body", False))

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Raises `RuntimeError` for a second answer, and for a header that would be more than one."""
        if self.response_started:
            raise RuntimeError("a second answer")
        self.response_started, self.waiting_for_100_continue = True, False
        told, nothing = dict(headers), self.scope["method"] == "HEAD" or status in BODILESS
        length = told.get(b"content-length")
        self.chunked_encoding = length is None and not nothing
        self.expected_content_length = 0 if length is None or nothing else int(length)
        if b"close" in told.get(b"connection", b"").lower():
            self.keep_alive = False
        elif not self.keep_alive:
            headers = [*headers, CLOSE]
        if self.chunked_encoding:
            headers = [*headers, CHUNKED]
        self._head = STATUS_LINE[status] + one_each(headers) + b"\r\n"
        if self.chunked_encoding:
            self._write(b"")

    def _go_on(self, body: bytes, *, more: bool) -> None:
        """Raises `RuntimeError` for a body that is not as long as it was said to be."""
        if not self.response_started or self.response_complete:
            raise RuntimeError("a body outside of an answer")
        if self.scope["method"] == "HEAD":
            body = b""
        elif self.chunked_encoding:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more):
                raise RuntimeError("the body is not as long as it was said to be")
        if more:
            self._write(body)
            return
        self.response_complete = True
        self.came()
        head, self._head = self._head, b""
        self._last(head + body)

    def _last(self, content: bytes) -> None:
        if not self.keep_alive:
            if content:
                self.transport.write(content)
            self.transport.close()
        elif content:
            self._turn.write(self.transport, content)
        self.on_response()

    def _write(self, body: bytes) -> None:
        if content := self._head + body:
            self._head = b""
            self.transport.write(content)


def one_each(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Headers, written out. Raises `RuntimeError` for one that would be more than one."""
    lines = b"\r\n".join([*map(COLON, headers), b""])
    if len(lines.translate(None, CONTROLS)) != len(lines) - 2 * len(headers):
        raise RuntimeError("a header has a control character")
    return lines
