"""Takes connections, up to a bound in all and of each address. What is beyond is closed before TLS costs anything."""

import asyncio
import errno
import logging
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import cast

import prometheus_client

from infra.web.address import Network, address_of, parsed, trusted
from infra.web.protocol import HEAD_SECONDS, Protocol

log = logging.getLogger(__name__)

BACKLOG = 2048
AT_ONCE = 64  # taken in one turn of the loop, so that those who are here already get their turn
PAUSE_SECONDS = 0.1
LOG_SECONDS = 1.0
MOST_FILES = 1 << 15
NO_MORE_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
REFUSED = prometheus_client.Counter(
    "http_server_connections_refused", "Connections closed because there were too many", ["bound"]
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many connections are taken at one port: in all, and from each address that is not a proxy of ours."""

    all: int
    each: int


def files() -> int:
    """How many files this process may have open, as many as it can get; no more than there is memory for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)


class Acceptor:
    """Takes connections at one port. `make` is given what is to be called when one has gone."""

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        make: Callable[[Callable[[], None]], Protocol],
        bounds: Bounds,
        proxies: Sequence[Network],
    ) -> None:
        self._listener, self._context, self._make = listener, context, make
        self._bounds, self._proxies = bounds, proxies
        self._loop = asyncio.get_running_loop()
        self._open, self._open_of = 0, Counter[str]()
        self._greeting = set[asyncio.Task[None]]()
        self._pause: asyncio.TimerHandle | None = None
        self._unsaid, self._said_at = 0, -LOG_SECONDS
        listener.setblocking(False)
        listener.listen(BACKLOG)
        self._go_on()

    def close(self) -> None:
        """Takes no more. Who is still shaking hands is sent away."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        for task in self._greeting:
            task.cancel()

    def _go_on(self) -> None:
        self._loop.add_reader(self._listener, self._take)

    def _take(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, (host, *_) = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in NO_MORE_FILES:
                    raise
                # They wait in the backlog; the listener is ready all the time, and would have us turn in circles.
                log.warning("connections wait: %s", error.strerror)
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(PAUSE_SECONDS, self._go_on)
                return
            self._welcome(connection, host)

    def _welcome(self, connection: socket.socket, host: str) -> None:
        address = address_of({"client": (host, 0)}, ())
        found = parsed(host)
        known = found is not None and trusted(found, self._proxies)
        if self._open >= self._bounds.all:
            self._refuse(connection, "all")
        elif not known and self._open_of[address] >= self._bounds.each:
            self._refuse(connection, "address")
        else:
            connection.setblocking(False)
            self._open += 1
            self._open_of[address] += 1
            task = self._loop.create_task(self._greet(connection, partial(self._gone, address)))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, connection: socket.socket, gone: Callable[[], None]) -> None:
        protocol = self._make(gone)
        try:
            await self._loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._context, ssl_handshake_timeout=HEAD_SECONDS
            )
        except OSError as error:
            log.debug("no connection came of it: %r", error)
        finally:
            # One that was made says itself when it has gone.
            if cast("asyncio.Transport | None", protocol.transport) is None:
                connection.close()
                gone()

    def _gone(self, address: str) -> None:
        self._open -= 1
        self._open_of[address] -= 1
        if not self._open_of[address]:
            del self._open_of[address]

    def _refuse(self, connection: socket.socket, bound: str) -> None:
        connection.close()
        REFUSED.labels(bound).inc()
        self._unsaid += 1
        if (now := monotonic()) - self._said_at >= LOG_SECONDS:
            log.warning("connections refused: %d, since there are %d", self._unsaid, self._open)
            self._unsaid, self._said_at = 0, now
