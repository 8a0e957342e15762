"""Asks a server over TLS from a process of its own, as cheaply as Python can. Times in seconds."""

import asyncio
import re
import ssl
from array import array
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import psutil
import uvloop

from infra.bench.figures import Round, quantile

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
NUMBER = b"########"
TICK_SECONDS = 0.001
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked, and how often: without a rate, each connection asks again when it is answered.

    `NUMBER` in the request stands for the number of the request, counted from `first`. Of `processes` the processor
    time is counted.
    """

    port: int
    request: bytes
    ca_file: Path
    connections: int
    seconds: float
    rate: float | None = None
    certificate: tuple[Path, Path] | None = None
    processes: Sequence[int] = ()
    first: int = 0

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if self.certificate is not None:
            context.load_cert_chain(*self.certificate)
        return context

    def busy(self) -> list[float]:
        """The processor time that each process, and all that it started, has had."""
        return [sum(map(spent, family(psutil.Process(pid)))) for pid in self.processes]


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def spent(process: psutil.Process) -> float:
    """Also by children that have ended meanwhile."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(sum((times.user, times.system, times.children_user, times.children_system)))


@dataclass(slots=True)
class Heard:
    """When each request was sent, how it was answered, and after how long; and what the processes took for all."""

    sent: "array[float]" = field(default_factory=lambda: array("d"))
    statuses: "array[int]" = field(default_factory=lambda: array("H"))
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    seconds: float = 0.0
    busy: Sequence[float] = ()

    def round(self) -> Round:
        """All that was answered. Raises `ConnectionError` if something was refused."""
        if refused := next((status for status in self.statuses if status >= 300), 0):
            raise ConnectionError(f"an answer was {refused}")
        return Round(len(self.latencies), self.seconds, self.latencies, sum(self.busy))

    def accepted(self) -> list[tuple[float, float]]:
        """When each request that was carried out was sent, and how long it took."""
        found = zip(self.sent, self.statuses, self.latencies, strict=True)
        return [(sent, latency) for sent, status, latency in found if status < 300]

    def p99(self) -> float:
        return quantile([latency for _, latency in self.accepted()], 0.99)


class Connection(asyncio.Protocol):
    def __init__(self, asker: "Asker") -> None:
        self._asker, self._heard, self._began = asker, b"", 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def ask(self, request: bytes) -> None:
        self._began = perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        end = self._heard.find(HEAD_END)
        if end < 0 or (length := LENGTH.search(self._heard, 0, end)) is None:
            return
        if len(self._heard) >= end + len(HEAD_END) + int(length[1]):
            status, self._heard = int(self._heard[9:12]), b""
            self._asker.answered(self, status, self._began)

    def connection_lost(self, exc: Exception | None) -> None:
        self._asker.lost(exc)


class Asker:
    """One load, from the first handshake to the last answer."""

    def __init__(self, load: Load) -> None:
        self._load, self._numbers = load, count(load.first)
        self._idle: deque[Connection] = deque()
        self._asking, self._under_way = False, 0
        self.heard, self._began = Heard(), 0.0
        self._still = asyncio.Event()
        self._failure: Exception | None = None

    async def run(self) -> Heard:
        loop, context = asyncio.get_running_loop(), self._load.context()
        for _ in range(self._load.connections):
            _, one = await loop.create_connection(
                lambda: Connection(self), "127.0.0.1", self._load.port, ssl=context, server_hostname="localhost"
            )
            self._idle.append(one)
        opened = list(self._idle)
        await self._asked_once(opened[:64])
        self.heard, before = Heard(), self._load.busy()
        self._began = perf_counter()
        await self._for_a_while()
        self.heard.seconds = perf_counter() - self._began
        await self._silence()
        self.heard.busy = [now - then for now, then in zip(self._load.busy(), before, strict=True)]
        self._failure = None
        for one in opened:
            one.transport.abort()
        return self.heard

    async def _asked_once(self, some: Sequence[Connection]) -> None:
        """What is only paid at the beginning is paid before."""
        for one in some:
            self._idle.remove(one)
            self._ask(one)
        await self._silence()

    async def _for_a_while(self) -> None:
        self._asking, rate = True, self._load.rate
        if rate is None:
            while self._idle:
                self._ask(self._idle.popleft())
            await asyncio.sleep(self._load.seconds)
        else:
            asked = 0
            while (passed := perf_counter() - self._began) < self._load.seconds:
                while asked < passed * rate and self._idle:
                    self._ask(self._idle.popleft())
                    asked += 1
                await asyncio.sleep(TICK_SECONDS)
        self._asking = False

    async def _silence(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self._under_way and self._failure is None:
                self._still.clear()
                await self._still.wait()
        if self._failure is not None:
            raise self._failure

    def _ask(self, connection: Connection) -> None:
        self._under_way += 1
        connection.ask(self._load.request.replace(NUMBER, b"%08d" % next(self._numbers)))

    def answered(self, connection: Connection, status: int, began: float) -> None:
        self._under_way -= 1
        heard = self.heard
        heard.sent.append(began - self._began)
        heard.statuses.append(status)
        heard.latencies.append(perf_counter() - began)
        if self._asking and self._load.rate is None:
            self._ask(connection)
            return
        self._idle.append(connection)
        if not self._under_way:
            self._still.set()

    def lost(self, exc: Exception | None) -> None:
        self._failure = self._failure or exc or ConnectionError("the server ended a connection")
        self._still.set()


def asked(load: Load) -> Heard:
    return uvloop.run(Asker(load).run())


class Client:
    """The process from which loads come."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, get_context("spawn"))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def ask(self, load: Load) -> Heard:
        """The answers. Raises `ConnectionError`, or `TimeoutError` when some do not come."""
        return self.begin(load).result()

    def begin(self, load: Load) -> Future[Heard]:
        """The same, without waiting for it."""
        return self._pool.submit(asked, load)
