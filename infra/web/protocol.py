"""uvicorn's protocol, with the peer's name, a bound on the head of a request, and problems instead of plain text."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from infra.telemetry import about, begin
from infra.web.joined import Joined
from infra.web.problems import Problem

log = logging.getLogger(__name__)

HEAD_LIMIT = 32 * 1024
HEAD_SECONDS = 20.0
DISCARD_LIMIT = 4 * 1024 * 1024

VERSIONS = frozenset({"1.0", "1.1"})
TOO_LARGE = (431, "request-header-fields-too-large", "the head of the request is too large")
MALFORMED = (400, "bad-request", "this is not a valid HTTP request")


class Protocol(HttpToolsProtocol):
    """One connection. `scope["peer"]` is the common name in the client's verified certificate, or None."""

    peer: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = Joined(transport, self.loop)  # type: ignore[assignment]  # it has all of a transport
        self.peer = common_name(transport.get_extra_info("peercert"))
        self._head, self._in_head, self._discarded = 0, True, 0
        self._refusal = MALFORMED
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._unfinished(len(data))

    def _unfinished(self, size: int) -> None:
        """The head is not complete: it must become so within bounds of size and time."""
        self._head += size
        if self._head > HEAD_LIMIT:
            self._refusal = TOO_LARGE
            self.send_400_response("")
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["peer"] = self.peer  # type: ignore[typeddict-unknown-key]
        self._head, self._in_head = 0, True

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        name = name.lower()
        if name == b"expect":
            super().on_header(name, value)
        else:
            self.headers.append((name, value))

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > HEAD_LIMIT:
            self._refusal = TOO_LARGE
            raise httptools.HttpParserError(TOO_LARGE[2])

    def on_headers_complete(self) -> None:
        if self.parser.get_http_version() not in VERSIONS:
            raise httptools.HttpParserError(MALFORMED[2])
        self._in_head = False
        self._in_time()
        super().on_headers_complete()

    def shutdown(self) -> None:
        """An answer without an end would keep the service from stopping: its client goes on elsewhere."""
        if self.cycle is not None and self.cycle.scope.get("endless") and not self.cycle.response_complete:
            self.transport.close()
        else:
            super().shutdown()

    def on_body(self, body: bytes) -> None:
        if self.cycle.response_complete:
            self._discard(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        # An application that finds this need not fear that the rest of the body never comes.
        self.scope["body_is_here"] = True  # type: ignore[typeddict-unknown-key]
        super().on_message_complete()

    def _discard(self, size: int) -> None:
        """What a client still sends after its answer is thrown away, but not for ever."""
        self._discarded += size
        if self._discarded > DISCARD_LIMIT:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # the refusal says it better
        status, slug, detail = self._refusal
        context = begin(None, None)
        with about(context.request_id, context.traceparent):
            log.info("a request was refused at its head: %s", detail)
            problem = Problem(status, slug, detail, headers={"connection": "close", "x-request-id": context.request_id})
            body = problem.body("")
        head = b"".join(name + b": " + value + b"\r\n" for name, value in problem.head(len(body))) + b"\r\n"
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


def common_name(certificate: Mapping[str, Any] | None) -> str | None:
    """The one common name of a certificate; None for none, or for several."""
    subject = certificate.get("subject", ()) if certificate else ()
    names = [value for part in subject for field, value in part if field == "commonName"]
    return names[0] if len(names) == 1 else None
