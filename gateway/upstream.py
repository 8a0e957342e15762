"""A service behind the gateway: pooled connections with mutual TLS, and careful repeats."""

import asyncio
import logging
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.connection import Connection
from gateway.errors import BrokenOff, Busy, TooSlow, Unreachable
from infra.errors import SettingsError

ADDRESS = re.compile(r"https://(?P<host>[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:(?P<port>[0-9]{1,5}))?/?")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    connections: int = 128
    connect_seconds: float = 2.0
    queue_seconds: float = 5.0
    answer_seconds: float = 30.0
    stall_seconds: float = 30.0
    idle_seconds: float = 30.0


class Upstream:
    """One service at an address, whose certificate must carry `name`."""

    def __init__(self, address: str, name: str, tls: ssl.SSLContext, limits: Limits) -> None:
        self._host, self._port = place(address)
        self._name = name
        self._tls, self.limits = tls, limits
        self._idle: deque[Connection] = deque()
        self._slots = asyncio.Semaphore(limits.connections)

    @property
    def authority(self) -> bytes:
        return self._name.encode()

    @asynccontextmanager
    async def exchange(self, request: bytes, *, repeatable: bool) -> AsyncIterator[Connection]:
        """A connection on which the answer to the request has begun. Raises `UpstreamError`."""
        await self._slot()
        try:
            connection = await self._answered(request, repeatable)
            try:
                yield connection
            finally:
                self._release(connection)
        finally:
            self._slots.release()

    async def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(self.limits.queue_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise Busy(f"{self._name} has too much to do") from None

    async def _answered(self, request: bytes, repeatable: bool) -> Connection:
        connection = self._pooled()
        if connection is not None:
            try:
                return await self._ask(connection, request)
            except BrokenOff:
                # An idle connection may die just when it is used again; that says nothing about the service.
                if not repeatable:
                    raise
        return await self._ask(await self._connect(), request)

    async def _ask(self, connection: Connection, request: bytes) -> Connection:
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                await connection.exchange(request)
        except TimeoutError:
            connection.close()
            raise TooSlow(f"{self._name} did not answer in time") from None
        except BaseException:
            connection.close()
            raise
        return connection

    def _pooled(self) -> Connection | None:
        oldest = asyncio.get_running_loop().time() - self.limits.idle_seconds
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    def _release(self, connection: Connection) -> None:
        if connection.complete and connection.reusable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.close()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.limits.connect_seconds):
                _, connection = await loop.create_connection(
                    Connection, self._host, self._port, ssl=self._tls, server_hostname=self._name
                )
        except (OSError, TimeoutError) as error:
            log.warning("%s cannot be reached: %r", self._name, error)
            raise Unreachable(f"{self._name} cannot be reached") from error
        return connection


def place(address: str) -> tuple[str, int]:
    """Host and port of an address. Raises `SettingsError` for one that is not `https://host[:port]`."""
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise SettingsError(f"a service's address is https://host:port, not {address!r}")
    return match["host"].strip("[]"), int(match["port"] or 443)
