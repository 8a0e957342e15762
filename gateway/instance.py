"""One instance of a service: pooled connections with mutual TLS, a bound on what runs and waits, and a breaker."""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

from gateway.breaker import Breaker
from gateway.connection import Connection
from gateway.errors import BrokenOff, Busy, TooSlow, Unreachable, UpstreamError

log = logging.getLogger(__name__)
now = monotonic  # the loop's own time, in a tenth of the time

OPENING = 8
UNWELL, UNWELL_SECONDS = frozenset({500, 502, 503, 504}), 1.0
NEARLY = 0.8  # some of the time has passed before an instance is asked


@dataclass(frozen=True, slots=True)
class Limits:
    """For each instance; `waiting` requests may wait for one of its connections, and the next is turned away.

    They wait for `queue_seconds` at most; but only for `crowded_seconds` when there were always some who waited for
    `crowd_seconds` now: what comes faster than it can be done would only become old in the queue.

    `streams` are answers without an end, which have connections of their own; `streams_each` are those of one principal
    at all services together.
    """

    connections: int = 96
    waiting: int = 512
    streams: int = 1000
    streams_each: int = 50
    connect_seconds: float = 2.0
    queue_seconds: float = 5.0
    crowd_seconds: float = 0.1
    crowded_seconds: float = 0.02
    answer_seconds: float = 30.0
    stall_seconds: float = 30.0
    idle_seconds: float = 30.0
    failures: int = 5


class Instance:
    """A service at one place, whose certificate must carry `name`."""

    def __init__(self, place: tuple[str, int], name: str, tls: ssl.SSLContext, limits: Limits) -> None:
        self.place, self._name, self._tls, self._limits = place, name, tls, limits
        self.breaker = Breaker(limits.failures)
        self.load = self.streams = 0
        self.well_answered = 0  # answers so far that do not say that it can't
        self._idle: deque[Connection] = deque()
        self._closed = False
        self._crowded_since, self._unwell_until = inf, 0.0
        self.unready: str | None = None
        self._running, self._queue = 0, deque[asyncio.Future[None]]()
        # After a restart all streams come back at once; their handshakes must not look like an instance that is dead.
        self._opening = asyncio.Semaphore(OPENING)

    def ready(self, moment: float) -> bool:
        """Whether a request can be sent at once: there is a place, and a connection that was used before."""
        return self._running < self._limits.connections and self._one_is_idle(moment)

    def send(self, request: bytes, deadline: float) -> Connection:
        """The connection on which it was sent, if this is `ready`; give it to `answered`, or back."""
        self._enter()
        connection = self._idle.pop()
        connection.asked_at = now()
        self.breaker.begins(connection.asked_at)
        connection.send(request, deadline)
        return connection

    def succeeded(self, connection: Connection) -> None:
        """Takes a connection back on which what was sent is answered."""
        self._noted(connection)
        self.release(connection)

    async def answered(self, connection: Connection) -> Connection:
        """The connection when the answer to what was sent has begun; as `ask`."""
        return await self._accounted(self._begun(connection, pooled=True), connection.asked_at, endless=False)

    async def ask(self, request: bytes, deadline: float, *, fresh: bool = False, endless: bool = False) -> Connection:
        """A connection on which the answer has begun; give it back with `release`. Raises `UpstreamError`.

        `deadline` is in the loop's time. A connection that was used before may be dead; `fresh` asks for a new one.
        """
        await self._entered(deadline, endless)
        began = now()
        self.breaker.begins(began)
        pooled = self._idle.pop() if not fresh and self._one_is_idle(began) else None
        return await self._accounted(self._asked(pooled, request, deadline, endless), began, endless)

    async def _accounted(self, asking: Coroutine[Any, Any, Connection], began: float, endless: bool) -> Connection:
        """Tells the breaker. Nobody opens it for others by waiting for less than an answer may take."""
        try:
            connection = await asking
        except UpstreamError as error:
            if not isinstance(error, TooSlow) or now() - began > NEARLY * self._limits.answer_seconds:
                self.breaker.failed(now())
            self._free(endless)
            raise
        except BaseException:
            self._free(endless)
            raise
        self._noted(connection)
        return connection

    def well(self, moment: float) -> bool:
        """Whether it has not said of itself lately that it can't answer."""
        return moment >= self._unwell_until

    def says(self, unready: str | None) -> None:
        """Takes note of why it is not ready; None if it is. No request goes there while another is ready."""
        if unready == self.unready:
            return
        if unready is not None:
            log.warning("%s at %s:%s is not ready: %s", self._name, *self.place, unready)
        else:
            log.info("%s at %s:%s is ready again", self._name, *self.place)
        self.unready, self._unwell_until = unready, 0.0 if unready is None else inf

    def _noted(self, connection: Connection) -> None:
        """An answer is no failure, but others are asked first when it says that it can't: such answers come fast."""
        self.breaker.succeeded()
        if connection.status in UNWELL:
            # One that was on its way must not end what `says` has no end for.
            self._unwell_until = max(self._unwell_until, now() + UNWELL_SECONDS)
        else:
            self.well_answered += 1

    def release(self, connection: Connection, *, endless: bool = False) -> None:
        if connection.complete and connection.reusable and not self._closed:
            connection.idle_since = now()
            self._idle.append(connection)
        else:
            connection.close()
        self._free(endless)

    def close(self) -> None:
        """Ends what is idle now; what is in use ends when it is given back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def told(self) -> dict[str, object]:
        """How it does, for operators."""
        host, port = self.place
        return {
            "address": f"https://{f'[{host}]' if ':' in host else host}:{port}",
            **self.breaker.told(now()),
            "unready": self.unready,
            "requests": self.load,
            "streams": self.streams,
        }

    async def _entered(self, deadline: float, endless: bool) -> None:
        """Takes a place. Raises `Busy`."""
        if endless:
            if self.streams >= self._limits.streams:
                raise Busy(f"{self._name} has too many streams open")
            self.streams += 1
        elif self._running < self._limits.connections:
            self._enter()
        elif self.load < self._limits.connections + self._limits.waiting:
            await self._place(deadline)
        else:
            raise Busy(f"{self._name} has too much to do")

    def _enter(self) -> None:
        self.load += 1
        self._running += 1
        self._crowded_since = inf

    def _free(self, endless: bool) -> None:
        if endless:
            self.streams -= 1
            return
        self.load -= 1
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._running -= 1

    async def _place(self, deadline: float) -> None:
        """Waits until one goes that is handed over. Raises `Busy`."""
        began, limits = now(), self._limits
        self._crowded_since = min(self._crowded_since, began)
        crowded = began - self._crowded_since > limits.crowd_seconds
        patience = limits.crowded_seconds if crowded else limits.queue_seconds
        place = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        self.load += 1
        try:
            async with asyncio.timeout_at(min(deadline, began + patience)):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self._free(endless=False)
            else:
                # `_free` may have passed over it meanwhile: it never had a place.
                self.load -= 1
                with suppress(ValueError):
                    self._queue.remove(place)
            if isinstance(error, TimeoutError):
                raise Busy(f"{self._name} has too much to do") from None
            raise

    async def _asked(self, pooled: Connection | None, request: bytes, deadline: float, endless: bool) -> Connection:
        if pooled is not None:
            connection = pooled
        elif endless:
            async with self._opening:
                connection = await self._connect(deadline)
        else:
            connection = await self._connect(deadline)
        connection.send(request, deadline)
        return await self._begun(connection, pooled=pooled is not None)

    async def _begun(self, connection: Connection, *, pooled: bool) -> Connection:
        try:
            await connection.answer()
        except TooSlow:
            connection.close()
            raise TooSlow(f"{self._name} did not answer in time") from None
        except BrokenOff as error:
            connection.close()
            error.pooled = pooled
            raise
        except BaseException:
            connection.close()
            raise
        return connection

    def _one_is_idle(self, moment: float) -> bool:
        """Whether there is one to take; those that waited for too long are closed."""
        oldest = moment - self._limits.idle_seconds
        while self._idle and not (self._idle[-1].reusable and self._idle[-1].idle_since > oldest):
            self._idle.pop().close()
        return bool(self._idle)

    async def connected(self) -> Connection:
        """A new connection, of which nobody else knows. Raises `OSError`."""
        host, port = self.place
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection, host, port, ssl=self._tls, server_hostname=self._name
        )
        return connection

    async def _connect(self, deadline: float) -> Connection:
        try:
            async with asyncio.timeout_at(min(deadline, now() + self._limits.connect_seconds)):
                return await self.connected()
        except (OSError, TimeoutError) as error:
            log.warning("%s cannot be reached at %s:%s: %r", self._name, *self.place, error)
            raise Unreachable(f"{self._name} cannot be reached") from error
