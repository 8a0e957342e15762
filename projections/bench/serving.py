"""The two servers that `headrace bench query` asks: the read side as it serves, and FastAPI with one SELECT."""

import asyncio
import os
import ssl
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from domains.kernel import Domain
from eventstore.link import parameters
from eventstore.memory import MemoryStore
from infra.errors import StartFailed
from infra.health import Health
from infra.oidc import Verifier
from infra.settings import Settings
from infra.web import serve, tls
from infra.web.server import bound, configuration
from projections import sql
from projections.bench.domain import counting
from projections.serving.live import Live
from projections.serving.past import Past
from projections.serving.service import Queries, read_side
from projections.serving.views import POOL, Views

NAME = "bench-query"
LOOK_SECONDS = 0.05
ONE, MANY = sql.text("bench_one"), sql.text("bench_many")


def asked_with(scope: str) -> Domain:
    """Counters, for whoever has a scope that the issuer knows."""
    domain = counting(NAME)
    return replace(domain, views=tuple(replace(view, scope=scope) for view in domain.views))


async def listens(port: int, process: SpawnProcess) -> None:
    """Returns when a process listens. Raises `StartFailed` when it ends before."""
    while process.is_alive():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(LOOK_SECONDS)
            continue
        writer.close()
        return
    raise StartFailed("a server that was to be measured did not start")


def ours(settings: Settings, conninfo: str, scope: str) -> None:
    """The read side, with everything that it does in service; its log goes to nobody."""
    silent()
    uvloop.run(read(settings, conninfo, asked_with(scope)))


def fastapi(settings: Settings, conninfo: str, _scope: str) -> None:
    """FastAPI, on the same server and with the same TLS."""
    silent()
    uvloop.run(hello(settings, conninfo))


def silent() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


async def read(settings: Settings, conninfo: str, domain: Domain) -> None:
    views, verifier, health = Views(conninfo, domain), Verifier(settings), Health()
    await views.open()
    await verifier.load()
    live = Live(settings, domain, views, None)
    queries = Queries(domain, views, Past(domain, MemoryStore(), views.skipped), live, None)
    try:
        await serve(settings, read_side(domain, queries, settings, health, verifier), health)
    finally:
        await live.close()
        await views.close()


async def hello(settings: Settings, conninfo: str) -> None:
    kwargs = {**parameters(conninfo), "autocommit": True, "row_factory": dict_row}
    app = FastAPI(openapi_url=None)
    async with AsyncConnectionPool(kwargs=kwargs, min_size=1, max_size=POOL, open=False) as pool:

        @app.get(f"/v1/{NAME}/counters/{{key}}")
        async def one(key: str) -> Any:
            async with pool.connection() as connection:
                return await (await connection.execute(ONE, (key,), prepare=True)).fetchone()

        @app.get(f"/v1/{NAME}/counters")
        async def many(limit: int) -> Any:
            async with pool.connection() as connection:
                return await (await connection.execute(MANY, (limit,), prepare=True)).fetchall()

        context = tls.server(settings, ssl.CERT_REQUIRED)
        config = configuration(settings, app, context)  # type: ignore[arg-type]  # it is none of our services
        config.http = "httptools"  # as anybody else has it
        await uvicorn.Server(config).serve(sockets=[bound(settings.host, settings.api_port)])
