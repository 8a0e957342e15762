"""Runs a service: its API and its health server, until it is told to stop."""

import asyncio
import logging
import math
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any

import uvicorn
import uvloop

from infra.errors import InfraError, StartFailed
from infra.garbage import collect_rarely
from infra.health import Health
from infra.settings import Settings
from infra.web import tls
from infra.web.acceptor import Acceptor, Bounds, files
from infra.web.app import Application
from infra.web.probes import probes
from infra.web.protocol import Protocol

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75


async def serve(settings: Settings, app: Application, health: Health) -> None:
    """Serves until SIGTERM or SIGINT, then turns unready, finishes what runs within `drain_seconds` and returns.

    A second signal stops at once.
    """
    with ended_by(signal.SIGTERM, signal.SIGINT):
        async with running(settings, app, health):
            await asyncio.Event().wait()
    log.info("stopped")


@asynccontextmanager
async def running(
    settings: Settings, app: Application, health: Health, bounds: Bounds | None = None
) -> AsyncIterator[None]:
    """The service, ready to answer inside of the block; drained and stopped after it.

    `bounds` are those of its API. A quarter of all files is for what it opens itself.
    """
    most = files() * 5 // 8
    # Of our own services, a few have all connections.
    bounds = bounds or Bounds(most, most // 4 if app.rules.peers is None else most)
    clients = ssl.CERT_NONE if app.rules.peers is None else ssl.CERT_REQUIRED
    async with (
        listening(settings, probes(health, app.inside), settings.health_port, tls.server(settings, ssl.CERT_OPTIONAL)),
        app.router.lifespan_context(app),
        operated(settings, app),
        listening(settings, app, settings.api_port, tls.server(settings, clients), bounds),
    ):
        health.check("service", lambda: None)
        collect_rarely()
        log.info("serving on %s:%s, health on %s", settings.host, settings.api_port, settings.health_port)
        try:
            yield
        finally:
            health.check("service", lambda: "stopping")


def operated(settings: Settings, app: Application) -> AbstractAsyncContextManager[None]:
    """The service's port for operators, if it has one."""
    if app.admin is None or settings.admin_port is None:
        return nullcontext()
    return listening(settings, app.admin, settings.admin_port, tls.server(settings, ssl.CERT_NONE))


@asynccontextmanager
async def listening(
    settings: Settings, app: Application, port: int, context: ssl.SSLContext, bounds: Bounds | None = None
) -> AsyncIterator[None]:
    """Without `bounds`, those of a port that few ask at: nobody keeps it from them at another."""
    listener = bound(settings.host, port)
    config = configuration(settings, app, context)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[])  # connections are taken by us

    def connection(gone: Callable[[], None]) -> Protocol:
        return Protocol(config, server.server_state, server.lifespan.state, asyncio.get_running_loop(), gone=gone)

    few = files() // 16
    acceptor = Acceptor(listener, context, connection, bounds or Bounds(few, few), settings.proxies)
    ticking = asyncio.create_task(server.main_loop(), name=f"{app.title} on {port}")
    try:
        yield
    finally:
        ticking.cancel()
        acceptor.close()
        await server.shutdown(sockets=[listener])
        if app.access is not None:
            app.access.flush()


def bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartFailed(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def configuration(settings: Settings, app: Application, context: ssl.SSLContext) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
        ssl_context_factory=lambda _, __: context,
    )


@contextmanager
def ended_by(*signals: signal.Signals) -> Iterator[None]:
    """A block whose awaiting ends, without an error, when one of the signals arrives."""
    loop, task, received = asyncio.get_running_loop(), asyncio.current_task(), list[signal.Signals]()
    assert task is not None  # noqa: S101  # a coroutine runs in a task

    def end(one: signal.Signals) -> None:
        received.append(one)
        task.cancel()

    for one in signals:
        loop.add_signal_handler(one, end, one)
    try:
        yield
    except asyncio.CancelledError:
        if not received:
            raise
        task.uncancel()
    finally:
        for one in signals:
            loop.remove_signal_handler(one)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a process on uvloop. What stops it from starting becomes one sentence and exit code 1."""
    try:
        uvloop.run(main())
    except InfraError as error:
        print("\n".join(filter(None, (str(error), error.hint))), file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
