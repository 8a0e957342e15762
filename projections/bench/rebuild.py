"""headrace bench rebuild: a view rebuilt from the store, beside reading and decoding alone and event by event."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Annotated, Any

import typer
import uvloop

from domains.codec import decode
from eventstore.bench.commands import compared, measuring, surroundings
from eventstore.bench.place import Place
from eventstore.migrate import connect
from eventstore.postgres import PostgresStore
from eventstore.records import Any as AnyVersion
from eventstore.records import Append, NewEvent
from infra.bench.figures import Figure, Round
from infra.bench.shown import AsJson, bench, show, told
from infra.native import here
from infra.plan import CONSOLE, OPERATOR, Database
from infra.postgres import conninfo
from projections.bench.accounts import AT, DOMAIN, VIEW, body
from projections.bench.loaded import Clock, under_load
from projections.migrate import migrate
from projections.projector import Projector
from projections.refolding.beside import Beside, Standing
from projections.refolding.complete import complete
from projections.refolding.rebuild import Rebuilt
from projections.refolding.rebuild import rebuild as rebuild_view
from projections.refolding.refold import PAGE, CatchUp, Log

SINGLE = 2000
AT_ONCE = 64
APPENDS_OF_ROW, EVENTS_OF_APPEND = 2, 5
READ = Database("bench_read", "bench-migrate", ("bench-read", OPERATOR, CONSOLE))


@bench.command()
def rebuild(
    events: Annotated[
        int, typer.Option(min=1000, max=10_000_000, help="So many, in a tenth as many rows.")
    ] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, max=99, help="Each figure is the median of so many rounds.")] = 3,
    commands: Annotated[
        int, typer.Option(min=0, max=100_000, help="So many a second arrive meanwhile; then nothing else is measured.")
    ] = 0,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="So long they arrive alone at first.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Rebuild a view from the store: fold, copy, index, catch up, compare and swap."""
    with measuring() as place, read_side() as owner:
        told("filling the store")
        asyncio.run(fill(place.conninfo, events))
        with connect(owner, 30) as connection:
            migrate(connection, DOMAIN)
            asyncio.run(complete(DOMAIN, owner, place.conninfo))
            migrate(connection, DOMAIN)
        if commands:
            reader = conninfo(here().settings(READ.principals[0]), READ.name)
            rows = max(1, events // (APPENDS_OF_ROW * EVENTS_OF_APPEND))
            load = under_load(place.conninfo, owner, reader, rows=rows, rate=commands, seconds=seconds)
            found = {"events": events, **uvloop.run(load)}
        else:
            found = uvloop.run(measured(place, owner, events, rounds))
        show("rebuild", found | surroundings(place, len(body(0, 0))), as_json)


@contextmanager
def read_side() -> Iterator[str]:
    """The owner's connection string of an empty read database."""
    system = here()
    system.drop_database(READ)
    system.create_database(READ)
    try:
        yield conninfo(system.settings(READ.owner), READ.name)
    finally:
        system.drop_database(READ)


async def fill(place: str, events: int) -> None:
    """Streams of ten events, half of them early in the log and half of them late."""
    rows = events // (APPENDS_OF_ROW * EVENTS_OF_APPEND)
    async with PostgresStore.open(place) as store:
        for _ in range(APPENDS_OF_ROW):
            for first in range(0, rows, AT_ONCE):
                some = range(first, min(rows, first + AT_ONCE))
                await asyncio.gather(*(store.append(deposits(row)) for row in some))


def deposits(row: int) -> Append:
    made = [NewEvent("bench.Deposited.v1", body(row, number), AT) for number in range(EVENTS_OF_APPEND)]
    return Append(f"bench-{row}", made, AnyVersion())


async def measured(place: Place, owner: str, events: int, rounds: int) -> dict[str, Any]:
    mine: list[Round] = []
    bound: list[Round] = []
    single: list[Round] = []
    made: list[Rebuilt] = []
    foretold: list[float] = []
    async with PostgresStore.open(place.conninfo) as store, Standing.open(owner, DOMAIN) as standing:
        for number in range(rounds):
            told(f"round {number + 1} of {rounds}")
            bound.append(await read_and_decode(store))
            clock = Clock()
            made.append(await rebuild_view(standing, VIEW, store, progress=clock.progress))
            foretold.append(clock.told()["ratio_eta"])
            mine.append(Round(made[-1].events, made[-1].seconds))
            single.append(await event_by_event(standing, store))
    found = compared(Figure.of(mine))
    for name, rounds_of in (("read_and_decode", bound), ("event_by_event", single)):
        figure = Figure.of(rounds_of)
        found |= {name: {"events_per_second": figure.events_per_second}}
        found[f"ratio_to_{name}"] = found["events_per_second"] / figure.events_per_second
    found["ratio_eta_at_a_tenth"] = median(foretold)
    return {"events": events, "rows": made[-1].rows, "passes": made[-1].passes, **found}


async def read_and_decode(store: PostgresStore) -> Round:
    """The whole log in pages, each event as the domain's own."""
    position, count, began = 0, 0, perf_counter()
    while page := await store.read_log(after=position, limit=PAGE):
        for event in page:
            decode(DOMAIN, event)
        position, count = page[-1].position, count + len(page)
    return Round(count, perf_counter() - began)


async def event_by_event(standing: Standing, store: PostgresStore) -> Round:
    """The first events, a transaction each."""
    beside = Beside(standing, VIEW, "_single")
    await beside.make()
    await beside.stand_at(dict.fromkeys(range(DOMAIN.partitions), 0))
    projector, count, began = Projector(DOMAIN.views, beside), 0, perf_counter()
    bounds = dict.fromkeys(range(DOMAIN.partitions), SINGLE)
    async for batch in CatchUp(Log(DOMAIN, store), DOMAIN, bounds).batches():
        for event in batch.events:
            await projector.apply([event])
            count += 1
    taken = perf_counter() - began
    await beside.discard()
    return Round(count, taken)
