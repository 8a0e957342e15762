"""A request on its way to a service, and the answer on its way back."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Scope, Send

from gateway.connection import Connection, Headers, nobody
from gateway.errors import BrokenOff, TooSlow
from gateway.instance import Instance, now
from gateway.limiter import Verdict
from gateway.packing import ENCODED, JSON, SMALLEST, Packer, packable, packed, takes_gzip, weakened
from gateway.upstream import Sent, Upstream
from infra.web.edge import Exchange

ANSWER_HEADERS = frozenset(
    {
        *(b"content-type", b"etag", b"location", b"link", b"allow", b"cache-control", b"retry-after", b"vary"),
        *(
            b"consistency-token",
            b"data-age",
            b"data-position",
            b"data-parked",
            b"www-authenticate",
            b"preference-applied",
        ),
    }
)
PACKABLE = frozenset({200, 304})


class Passing:
    """`deadline` is in the loop's time. When an `endless` answer breaks off, that is its end."""

    __slots__ = (
        *("_deadline", "_endless", "_exchange", "_repeatable", "_request", "_scope", "_sent", "_verdict"),
        "upstream",
    )

    def __init__(  # noqa: PLR0917  # it is made in one place
        self, scope: Scope, upstream: Upstream, request: bytes, repeatable: bool, endless: bool, deadline: float
    ) -> None:
        self._scope, self.upstream, self._request, self._repeatable = scope, upstream, request, repeatable
        self._endless, self._deadline = endless, deadline
        self._sent: Sent | None = None

    def begin(self, exchange: Exchange, instance: Instance, verdict: Verdict) -> Callable[[], None] | None:
        """Asks an instance that is ready. What comes in one piece is answered without a task, and else by one.

        What comes back has one go on with it before; None: one must, since the connection is broken already.
        """
        self._exchange, self._verdict = exchange, verdict
        _, connection = self._sent = self.upstream.send(instance, self._request, self._deadline)
        if connection.error is not None:
            self._given_up()
            return None
        connection.wake = self._go_on
        return self.hand_over

    def _go_on(self) -> None:
        assert self._sent is not None  # noqa: S101  # it has begun
        (instance, connection), exchange = self._sent, self._exchange
        if connection.complete and connection.error is None and not exchange.cycle.flow.write_paused:
            connection.wake = nobody
            headers, body, _ = answer(connection, self._scope)
            instance.succeeded(connection)
            exchange.answer(connection.status, headers, body, self._verdict.lines)
        elif connection.begun or connection.error is not None:
            self.hand_over()

    def hand_over(self) -> None:
        assert self._sent is not None  # noqa: S101  # it has begun
        self._sent[1].wake, cycle = nobody, self._exchange.cycle
        self._given_up()
        cycle.hand_over = None
        cycle.start()

    def _given_up(self) -> None:
        """A task goes on with it."""
        scope = self._scope
        scope["passing"] = self
        scope["answer_headers"] = [*scope.get("answer_headers", ()), *self._verdict.headers]

    async def relay(self, send: Send) -> None:
        """Asks, if that was not done, and hands the answer to the client: at once what is complete, else as it comes.

        Raises `UpstreamError`.
        """
        stall, wanted = self.upstream.limits.stall_seconds, self._scope["method"] != "HEAD"
        async with self.upstream.exchange(
            self._request,
            repeatable=self._repeatable,
            seconds=self._deadline - now(),
            endless=self._endless,
            sent=self._sent,
        ) as connection:
            goes_on = wanted and not connection.complete
            status, (headers, body, packer) = connection.status, answer(connection, self._scope)
            if goes_on:
                await within(stall, begun(send, status, headers, body, goes_on=True))
                try:
                    async for part in connection.rest(stall):
                        if some := packer.some(part) if packer else part:
                            await within(stall, send({"type": "http.response.body", "body": some, "more_body": True}))
                except BrokenOff:
                    if not self._endless:
                        raise
                await within(stall, send({"type": "http.response.body", "body": packer.end() if packer else b""}))
        if not goes_on:
            # By now the connection is another's: a client that is slow to take his answer keeps nobody from theirs.
            await within(stall, begun(send, status, headers, body, goes_on=False))


def answer(connection: Connection, scope: Scope) -> tuple[Headers, bytes, Packer | None]:
    """The head of an answer as the client gets it, and what is here of its body; packed, if he takes that.

    So is what comes later, by the packer. What is packed, and its tag, depend on the answer and not on how it arrives.
    """
    headers = [header for header in connection.headers if header[0] in ANSWER_HEADERS]
    complete, body, packer = connection.complete, connection.take(), None
    length = len(body) if complete else declared_length(connection)
    if connection.status in PACKABLE:
        headers.append((b"vary", b"accept-encoding"))
        if b"accept-encoding" in scope["sent"] and takes_gzip(scope["headers"]):
            if connection.status == 200 and complete:
                headers, body = packed(headers, body)
                length = len(body)
            elif packable(headers, JSON if connection.status == 304 else b""):
                headers = weakened(headers)
                if connection.status == 200 and (length is None or length >= SMALLEST):
                    packer, length = Packer(), None
                    headers, body = [*headers, ENCODED], packer.some(body)
    if length is not None and connection.status not in (204, 304):
        headers.append((b"content-length", b"%d" % length))
    return headers, body, packer


async def begun(send: Send, status: int, headers: Headers, body: bytes, *, goes_on: bool) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": goes_on})


async def within(seconds: float, sending: Awaitable[None]) -> None:
    """Raises `TooSlow` if the client does not take it."""
    try:
        async with asyncio.timeout(seconds):
            await sending
    except TimeoutError:
        raise TooSlow("the client does not take the answer") from None


def declared_length(connection: Connection) -> int | None:
    return next((int(value) for name, value in connection.headers if name == b"content-length"), None)
