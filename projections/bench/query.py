"""headrace bench query: rows asked over HTTP with mutual TLS, beside a FastAPI path operation with one SELECT."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from time import perf_counter
from typing import Annotated, Any

import psutil
import typer
import uvloop

from domains.kernel import Domain
from eventstore.migrate import connect
from infra.bench.figures import Figure, Round, busy, known
from infra.bench.servers import running
from infra.bench.shown import AsJson, bench, show, told
from infra.console import clear_errors
from infra.native import Native, here
from infra.native.ports import free_port
from infra.plan import OPERATOR, Database
from infra.postgres import conninfo
from infra.settings import Settings
from infra.tokens import token
from infra.web import tls
from projections.bench import serving
from projections.bench.domain import AT, Counter
from projections.migrate import migrate
from projections.plan import read_database, read_side
from projections.postgres import PostgresDatabase

SERVERS = {"postgres", "issuer"}
CALLER = "gateway"
READY_SECONDS = 30.0
SAVED = 1000
LIST = 50


@bench.command()
def query(
    rows: Annotated[int, typer.Option(min=1000, max=10_000_000, help="So many the view has.")] = 10_000,
    connections: Annotated[int, typer.Option(min=1, max=512, help="So many ask at the same time.")] = 16,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="How long each round of each side takes.")] = 3.0,
    rounds: Annotated[int, typer.Option(min=1, max=99, help="Each figure is the median of so many rounds.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Ask a view by key and for lists of 50, beside a path operation of FastAPI with one prepared SELECT."""
    with clear_errors():
        told("filling the view")
        with opened(here(), rows) as place:
            taken = uvloop.run(measured(place, connections, seconds, rounds))
    show("query", compared(taken) | {"rows": rows, "connections": connections} | environment(), as_json)


def compared(taken: dict[str, list[Round]]) -> dict[str, Any]:
    """Answers a second and their latencies, and the ratio of each of our sides to FastAPI's."""
    figures = {name: Figure.of(rounds) for name, rounds in taken.items()}
    return {
        **{name: known(figure) for name, figure in figures.items()},
        "processor_microseconds_per_answer": busy(taken),
        **{
            f"ratio_{kind}_to_fastapi": figures[kind].events_per_second / figures[f"fastapi_{kind}"].events_per_second
            for kind in ("key", "list")
        },
    }


def environment() -> dict[str, Any]:
    return {"environment": {"cpus": os.cpu_count(), "tls": "mutual"}}


@dataclass(frozen=True, slots=True)
class Place:
    """A view that is full, and who may ask it."""

    domain: Domain
    settings: Settings
    conninfo: str
    caller: Settings
    token: str
    rows: int


@contextmanager
def opened(system: Native, rows: int) -> Iterator[Place]:
    """PostgreSQL and the issuer, with a read database of their own; afterwards everything is as it was."""
    domain = serving.asked_with(next(scope for scope in system.plan.scopes if scope.endswith(":read")))
    database = next(one for one in read_side(domain).databases if one.name == read_database(domain))
    with running(system, *SERVERS):
        try:
            system.drop_database(database)
            system.create_database(database)
            yield prepared(system, domain, database, rows)
        finally:
            system.drop_database(database)


def prepared(system: Native, domain: Domain, database: Database, rows: int) -> Place:
    owner = conninfo(system.settings(database.owner), database.name)
    with connect(owner, READY_SECONDS) as connection:
        migrate(connection, domain)
    asyncio.run(fill(domain, owner, rows))
    settings = system.settings(f"{domain.name}-read")
    scope = [view.scope or "" for view in domain.views]
    made = token(system.settings(OPERATOR), scope)
    return Place(domain, settings, conninfo(settings, database.name), system.settings(CALLER), made, rows)


async def fill(domain: Domain, owner: str, rows: int) -> None:
    [view], database = domain.views, PostgresDatabase(owner, domain)
    for start in range(0, rows, SAVED):
        some = (
            Counter(counter=f"c{n}", count=n, total=n, place="somewhere", changed_at=AT) for n in range(start, rows)
        )
        async with database.transaction() as transaction:
            await transaction.save(view, {row.counter: row for row, _ in zip(some, range(SAVED), strict=False)})
    await database.close()


async def measured(place: Place, connections: int, seconds: float, rounds: int) -> dict[str, list[Round]]:
    taken: dict[str, list[Round]] = {"key": [], "list": [], "fastapi_key": [], "fastapi_list": []}
    context = tls.client(place.caller)
    async with server(place, serving.ours) as mine, server(place, serving.fastapi) as other:
        for number in range(rounds):
            told(f"round {number + 1} of {rounds}")
            for prefix, running in (("", mine), ("fastapi_", other)):
                for kind in ("key", "list"):
                    asked = Asked(place, running, context, kind)
                    taken[f"{prefix}{kind}"].append(await asked.by(connections, seconds))
    return taken


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    process: psutil.Process

    def busy(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


@asynccontextmanager
async def server(place: Place, main: Any) -> AsyncIterator[Server]:
    """A process that serves, as soon as it does."""
    ports = [free_port(), free_port()]
    settings = place.settings.model_copy(update=dict(zip(("api_port", "health_port"), ports, strict=True)))
    process = get_context("spawn").Process(target=main, args=(settings, place.conninfo, place.domain.views[0].scope))
    process.start()
    try:
        async with asyncio.timeout(READY_SECONDS):
            await serving.listens(ports[0], process)
        yield Server(ports[0], psutil.Process(process.pid))
    finally:
        process.terminate()
        await asyncio.to_thread(process.join)


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions to one server, each on a connection that waits for its answer."""

    place: Place
    server: Server
    context: ssl.SSLContext
    kind: str

    async def by(self, connections: int, seconds: float) -> Round:
        await asyncio.gather(*(self._one(number, 0) for number in range(connections)))
        began, before = perf_counter(), self.server.busy()
        found = await asyncio.gather(*(self._one(number, began + seconds) for number in range(connections)))
        latencies = [one for each in found for one in each]
        return Round(len(latencies), perf_counter() - began, latencies, self.server.busy() - before)

    async def _one(self, number: int, deadline: float) -> list[float]:
        """Asks at least once, and until the deadline: how long each answer took."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port, ssl=self.context)
        taken: list[float] = []
        try:
            while not taken or perf_counter() < deadline:
                began = perf_counter()
                writer.write(self._request(number + len(taken) * 7919))
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 "), head  # noqa: S101  # a refusal is no answer
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                taken.append(perf_counter() - began)
        finally:
            writer.close()
        return taken

    def _request(self, number: int) -> bytes:
        name, row = self.place.domain.name, f"c{number % self.place.rows}"
        path = f"/v1/{name}/counters/{row}" if self.kind == "key" else f"/v1/{name}/counters?limit={LIST}"
        head = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {self.place.token}\r\n\r\n"
        return head.encode()
