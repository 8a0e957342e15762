"""Folding one long stream to a state, cold and from a snapshot, beside the library's repository."""

from time import perf_counter
from typing import Any

import orjson
import uvloop

from eventstore.bench.peer import PEER, Account, Bank
from eventstore.bench.place import Place
from eventstore.postgres import PostgresStore
from eventstore.records import RecordedEvent, Snapshot
from infra.bench.figures import Round

TIMES = 20
# PostgreSQL plans a prepared statement anew for the first five times; a service that runs has that behind it.
UNMEASURED = 10
KIND, NONE = "bench.1", "bench.0"
# As many events as half the policy's usual distance between two snapshots.
BEHIND = 50


async def ours(conninfo: str, stream: str, kept: bool = False) -> Round:
    """Read, decode and fold the stream, again and again; `kept`: from a snapshot that lies `BEHIND` events back."""
    latencies, count = [], 0
    async with PostgresStore.open(conninfo) as store:
        if kept:
            await keep(store, stream)
        for _ in range(UNMEASURED):
            await store.read_from_snapshot(stream, KIND if kept else NONE, limit=10_000)
        for _ in range(TIMES):
            began = perf_counter()
            state: dict[str, Any] = {}
            snapshot, events = await store.read_from_snapshot(stream, KIND if kept else NONE, limit=10_000)
            if snapshot is not None:
                state, count = orjson.loads(snapshot.data), count + snapshot.version
            for event in events:
                count += 1
                state = evolve(state, event)
            latencies.append(perf_counter() - began)
    return Round(count, sum(latencies), latencies)


async def keep(store: PostgresStore, stream: str) -> None:
    state: dict[str, Any] = {}
    events = (await store.read_stream(stream, limit=10_000))[:-BEHIND]
    for event in events:
        state = evolve(state, event)
    await store.keep_snapshot(Snapshot(stream, events[-1].version, KIND, orjson.dumps(state)))


def evolve(state: dict[str, Any], event: RecordedEvent) -> dict[str, Any]:
    return {**state, **orjson.loads(event.data), "version": event.version}


def library(place: Place, events: int) -> Round:
    """`repository.get` over the library's own module."""
    with Bank(env=place.library("Bank", PEER, 1)) as bank:
        account = Account()
        for _ in range(events - 1):
            account.deposit(10)
        bank.save(account)
        for _ in range(UNMEASURED):
            bank.repository.get(account.id)
        latencies = []
        for _ in range(TIMES):
            began = perf_counter()
            bank.repository.get(account.id)
            latencies.append(perf_counter() - began)
    return Round(TIMES * events, sum(latencies), latencies)


def all_of_them(place: Place, stream: str, events: int) -> tuple[Round, Round, Round]:
    """Cold, from a snapshot, and the library."""
    cold = uvloop.run(ours(place.conninfo, stream))
    return cold, uvloop.run(ours(place.conninfo, stream, kept=True)), library(place, events)
