"""uvicorn's protocol, with the peer's name, a bound on the head of a request, and problems instead of plain text."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from email.utils import formatdate
from time import monotonic
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGIVersions
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from infra.alarm import Alarm
from infra.telemetry import RequestContext, about, begin
from infra.turns import turn_of
from infra.web.access import DURATIONS, UNMATCHED
from infra.web.cycle import STATUS_LINE, Cycle, one_each
from infra.web.problems import Problem

log = logging.getLogger(__name__)

HEAD_LIMIT = 32 * 1024
HEAD_SECONDS = 20.0
DISCARD_LIMIT = 4 * 1024 * 1024
MOST_WAITING = 16  # requests that were sent before the answer to an earlier one
OWED_SECONDS = 60.0  # for each answer to begin that is owed before what came last is refused

ASGI: ASGIVersions = {"version": "3.0", "spec_version": "2.3"}
VERSIONS = frozenset({"1.0", "1.1"})
UPGRADE = b"upgrade"
TOO_LARGE = (431, "request-header-fields-too-large", "the head of the request is too large")
TOO_LATE = (408, "request-timeout", "the head did not come to its end")
MALFORMED = (400, "bad-request", "this is not a valid HTTP request")


class Protocol(HttpToolsProtocol):
    """One connection. `scope["peer"]` is the common name in the client's verified certificate, or None."""

    # With these in its dictionary, an instance would have more than the interpreter keeps in its fast form.
    __slots__ = (
        *("_at_once", "_before", "_current", "_deadline", "_discarded", "_full", "_gone", "_head", "_heard", "_idle"),
        *("_in_head", "_owing", "_refusal", "_turn", "_unstarted"),
    )
    peer: str | None = None
    cycle: Cycle

    def __init__(self, *arguments: Any, gone: Callable[[], None] | None = None, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._gone = gone

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._turn = turn_of(self.loop)
        self.peer = common_name(transport.get_extra_info("peercert"))
        self._head, self._before, self._in_head, self._discarded = 0, 0, True, 0
        self._refusal, self._full, self._owing, self._heard = MALFORMED, False, False, False
        self.url, self.headers = b"", []
        self._unstarted: Cycle | None = None
        self._current: Cycle | None = None
        self._at_once = self.app.at_once
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(HEAD_SECONDS, self._head_too_late)
        self._idle = Alarm(self.loop, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        self._idle.stop()
        super().connection_lost(exc)
        if self._gone is not None:
            self._gone()

    def data_received(self, data: bytes) -> None:
        if self._full:
            return
        self._head += len(data)
        self._feed(data)
        if self.transport.is_closing():
            return
        if (cycle := self._unstarted) is not None:
            self._unstarted = None
            # A task waits for who does not take the answers that he has; without one they would pile up.
            if not cycle.more_body and not self.flow.write_paused:
                cycle.hand_over = self._at_once(cycle)
            if cycle.hand_over is None:
                cycle.start()
        if self._heard and not self._in_head:
            self._head, self._before, self._heard = 0, 0, False
        else:
            self._unfinished()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            head = self._without_offer()
            self.parser = httptools.HttpRequestParser(self)  # it listens no more after an offer with `close`
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self._feed(head + data[offer.args[0] :])
        except httptools.HttpParserError:
            if not self._full:
                self.send_400_response("")

    def _without_offer(self) -> bytes:
        """The head of a request that offers another protocol, which nobody here speaks (RFC 9110, section 7.8).

        With the offer in it the parser would take a body, and all that comes behind, for that protocol: the body would
        be lost, or be the next request.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] != UPGRADE]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(lines))

    def _unfinished(self) -> None:
        """The head is not complete: it must become so within bounds of size and time.

        Neither is what the parser keeps to itself, or throws away: a trailer, or what stands behind a chunk's size.
        """
        if self._full:
            return
        if self._head - self._before > HEAD_LIMIT:
            self._refusal = TOO_LARGE
            self.send_400_response("")
        elif self._in_head and self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._head_too_late)

    def _head_too_late(self) -> None:
        """Who has begun to ask is told."""
        if self._head and not self.transport.is_closing():
            self._refusal = TOO_LATE
            self.send_400_response("")
        else:
            self._too_late()

    def _too_late(self) -> None:
        self._turn.flush()
        self.transport.close()

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def on_message_begin(self) -> None:
        # Nothing else keeps an idle connection: neither empty lines nor the rest of a body that was answered already.
        self._idle.clear()
        self.url, self.headers, self.expect_100_continue, self._in_head = b"", [], False, True

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            self.headers.append((name.lower(), value))
        else:
            # What comes after a body in chunks is nobody's header.
            self._heard = True
            self._discard(len(name) + len(value))

    def _too_large(self) -> httptools.HttpParserError:
        self._refusal = TOO_LARGE
        return httptools.HttpParserError(TOO_LARGE[2])

    def on_headers_complete(self) -> None:
        """Begins to answer, or does so after what was asked before on this connection."""
        parser, headers = self.parser, self.headers
        sent, keep_alive = dict(headers), parser.should_keep_alive()
        if parser.should_upgrade():
            if UPGRADE not in sent:
                raise httptools.HttpParserError("a tunnel is asked for")
            return  # the head comes once more, without the offer
        # To ask for the version is dear, and in HTTP/1.1 alone a connection is kept without a word about it.
        version = "1.1" if keep_alive and b"connection" not in sent else parser.get_http_version()
        if version not in VERSIONS:
            raise httptools.HttpParserError(MALFORMED[2])
        # What came since the head began is more than the head, and mostly little enough.
        if self._head > HEAD_LIMIT and size_of(self.url, headers) > HEAD_LIMIT:
            raise self._too_large()
        self._in_head, self._heard = False, True
        if self._deadline is not None:
            self._in_time()
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.expect_100_continue = sent.get(b"expect", b"").lower() == b"100-continue"
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": ASGI,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": "https",
            "method": parser.get_method().decode("ascii"),
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "headers": headers,
            "sent": sent,
            "peer": self.peer,
        }
        self.scope, before = scope, self.cycle  # type: ignore[assignment]
        if len(self.pipeline) >= MOST_WAITING:
            # Those that wait are answered, and with the last of them the connection ends: who asks on asks again.
            before.keep_alive = False
            self._take_no_more()
            raise httptools.HttpParserError("more requests wait than are taken")
        self.cycle = Cycle(self, scope, self._turn, keep_alive=keep_alive and version != "1.0")
        if before is None or before.response_complete:
            self._unstarted = self._current = self.cycle
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._current = cycle  # type: ignore[assignment]
            if self._owing:
                self._in_time()
                self._owe()
            self._start_asgi_task(cycle, app)
            return
        if self._owing:
            self._refuse()
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        self._idle.set(monotonic() + self.timeout_keep_alive)  # the loop's own time, in a tenth of the time

    def shutdown(self) -> None:
        """An answer without an end would keep the service from stopping: its client goes on elsewhere."""
        self._turn.flush()
        cycle = self._current
        if cycle is not None and cycle.scope.get("endless") and not cycle.response_complete:
            self.transport.close()
            return
        if cycle is not None and cycle.hand_over is not None:
            # Only tasks are waited for, and ended when it takes too long.
            cycle.hand_over()
        super().shutdown()

    def on_body(self, body: bytes) -> None:
        self._heard = True
        if self.cycle.response_complete:
            self._discard(len(body))
            return
        cycle = self.cycle
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        if cycle is not self._unstarted:
            cycle.came()

    def on_message_complete(self) -> None:
        if self._in_head:
            return  # an offer ends here for the parser
        # An application that finds this need not fear that the rest of the body never comes.
        self.scope["body_is_here"] = True  # type: ignore[typeddict-unknown-key]
        # Nobody knows where in this chunk the next head begins: its first part is measured when it is complete.
        self._before, self._heard = self._head, True
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            if cycle is not self._unstarted:
                cycle.came()

    def _discard(self, size: int) -> None:
        """What nobody takes is thrown away, but not for ever."""
        self._discarded += size
        if self._discarded > DISCARD_LIMIT:
            self._too_late()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # the refusal says it better
        """Refuses what came last, when the answers to all before it are sent; each must begin in bounded time."""
        if (cycle := self.cycle) is None or cycle.response_complete:
            self._refuse()
            return
        if not self._in_head and cycle.more_body:
            # It is the body of the last request that is not valid: this is its answer.
            if not self.pipeline:
                (self._too_late if cycle.response_started else self._refuse)()
                return
            self.pipeline.popleft()
        self._owing = True
        self._take_no_more()
        self._owe()

    def _take_no_more(self) -> None:
        self._full = True
        self.flow.pause_reading()
        self._in_time()

    def _owe(self) -> None:
        self._deadline = self.loop.call_later(OWED_SECONDS, self._owed_too_late)

    def _owed_too_late(self) -> None:
        """An answer that has begun and has an end is not cut: it takes as long as it would anyway."""
        if (cycle := self._current) is not None and cycle.response_started and not cycle.scope.get("endless"):
            self._owe()
        else:
            self._too_late()

    def _refuse(self) -> None:
        status, slug, detail = self._refusal
        context = begin(None, None)
        with about(context.request_id, context.traceparent):
            log.info("a request was refused at its head: %s", detail)
            told = {"connection": "close", "x-request-id": context.request_id, "date": formatdate(usegmt=True)}
            problem = Problem(status, slug, detail, headers=told)
            body = problem.body("")
        path = self.url.partition(b"?")[0] if self._in_head else b""
        self._record(context, path, status, len(body))
        self._turn.flush()
        head = one_each(problem.head(len(body)) + self.app.notes(path))
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], head, body))
        self.transport.close()

    def _record(self, context: RequestContext, path: bytes, status: int, size: int) -> None:
        """What is known of a request that was refused at its head."""
        known, headers = path != b"", self.headers
        scope: dict[str, Any] = {
            "method": self.parser.get_method().decode("ascii") if known else "",
            "raw_path": path,
            "client": self.client,
            "headers": headers if known else [],
            "sent": dict(headers) if known else {},
        }
        DURATIONS.record(scope["method"], UNMATCHED, status, 0.0)
        if (access := self.app.access) is not None:
            access.record(scope, UNMATCHED, context, status, size, 0.0)


def size_of(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    """How long the head is that has them."""
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)


def common_name(certificate: Mapping[str, Any] | None) -> str | None:
    """The one common name of a certificate; None for none, or for several."""
    subject = certificate.get("subject", ()) if certificate else ()
    names = [value for part in subject for field, value in part if field == "commonName"]
    return names[0] if len(names) == 1 else None
