"""Folding one long stream to a state: the store's read and a fold, beside the library's repository."""

import asyncio
from time import perf_counter
from typing import Any

import orjson

from eventstore.bench.figures import Round
from eventstore.bench.peer import PEER, Account, Bank
from eventstore.bench.place import Place
from eventstore.postgres import PostgresStore

TIMES = 20


async def ours(conninfo: str, stream: str) -> Round:
    """Read, decode and fold the stream, again and again."""
    latencies, count = [], 0
    async with PostgresStore.open(conninfo) as store:
        for _ in range(TIMES):
            began = perf_counter()
            state: dict[str, Any] = {}
            for event in await store.read_stream(stream, limit=10_000):
                count += 1
                state = {**state, **orjson.loads(event.data), "version": event.version}
            latencies.append(perf_counter() - began)
    return Round(count, sum(latencies), latencies)


def library(place: Place, events: int) -> Round:
    """`repository.get` over the library's own module."""
    with Bank(env=place.library("Bank", PEER, 1)) as bank:
        account = Account()
        for _ in range(events - 1):
            account.deposit(10)
        bank.save(account)
        latencies = []
        for _ in range(TIMES):
            began = perf_counter()
            bank.repository.get(account.id)
            latencies.append(perf_counter() - began)
    return Round(TIMES * events, sum(latencies), latencies)


def both(place: Place, stream: str, events: int) -> tuple[Round, Round]:
    return asyncio.run(ours(place.conninfo, stream)), library(place, events)
