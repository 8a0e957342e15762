"""The store under load: as many writers as asked for, each of which waits for its answer before it goes on."""

import asyncio
from datetime import UTC, datetime
from time import perf_counter
from uuid import uuid4

import psutil

from eventstore.personal.sealing import DataKey
from eventstore.postgres import PostgresStore
from eventstore.records import Any, Append, Exactly, IdempotencyKey, NewEvent
from infra.bench.figures import Round

TYPE = "bench.Happened.v1"
STREAM_APPENDS = 10  # then a writer begins another stream
SEALED_ONE_IN = 10
ABOUT = "Ann Example, 1 Mill Lane, Leat"


def body(size: int) -> bytes:
    """A JSON document of that many bytes."""
    return b'{"text":"%s"}' % (b"x" * max(0, size - 11))


def event(key: DataKey, stream: str, version: int, data: bytes) -> NewEvent:
    """An event of the size of `data`; one in ten says something about a person, which is sealed."""
    if version % SEALED_ONE_IN == 0:
        sealed = key.seal(ABOUT, stream, version, "about").encode()
        data = b'{"about":"%s","text":"%s"}' % (sealed, b"x" * max(0, len(data) - len(sealed) - 22))
    return NewEvent(TYPE, data, datetime.now(UTC))


async def write(store: PostgresStore, data: bytes, events: int, deadline: float) -> list[float]:
    """Append with an expected version and an idempotency key until the deadline: how long each append took."""
    taken: list[float] = []
    person = DataKey.generate()
    while True:
        name = uuid4().hex
        stream = f"bench-{name}"
        for number in range(STREAM_APPENDS):
            began = perf_counter()
            if began > deadline:
                return taken
            new = [event(person, stream, number * events + n, data) for n in range(1, events + 1)]
            key = IdempotencyKey(f"{name}-{number}", name.encode())
            await store.append(Append(stream, new, Exactly(number * events), key))
            taken.append(perf_counter() - began)


async def appends(conninfo: str, writers: int, events: int, payload: int, seconds: float) -> Round:
    data = body(payload)
    async with PostgresStore.open(conninfo) as store:
        await asyncio.gather(*(write(store, data, events, 0) for _ in range(writers)))
        began = perf_counter()
        found = await asyncio.gather(*(write(store, data, events, began + seconds) for _ in range(writers)))
        latencies = [one for writer in found for one in writer]
        return Round(events * len(latencies), perf_counter() - began, latencies)


async def memory(conninfo: str, writers: int, payload: int, seconds: float, samples: int) -> list[float]:
    """MiB resident in this process while it appends, now and then."""
    data, process, found = body(payload), psutil.Process(), []
    async with PostgresStore.open(conninfo) as store:
        for _ in range(samples):
            end = perf_counter() + seconds / samples
            await asyncio.gather(*(write(store, data, 1, end) for _ in range(writers)))
            found.append(process.memory_info().rss / 2**20)
    return found


async def fill(conninfo: str, events: int, payload: int, stream: str | None = None) -> None:
    """Record so many events, in one stream or in streams of ten."""
    data = body(payload)
    async with PostgresStore.open(conninfo) as store:
        size = 1000 if stream else STREAM_APPENDS
        for group in range(0, events // size, 50):
            names = [stream or f"fill-{uuid4().hex}" for _ in range(min(50, events // size - group))]
            await asyncio.gather(*(store.append(batch(name, data, size)) for name in names))


def batch(stream: str, data: bytes, events: int) -> Append:
    return Append(stream, [NewEvent(TYPE, data, datetime.now(UTC)) for _ in range(events)], Any())


async def reads(conninfo: str, page: int) -> Round:
    """The whole log, decoded to events."""
    async with PostgresStore.open(conninfo) as store:
        return await walk(store, 0, page)


async def walk(store: PostgresStore, after: int, page: int) -> Round:
    await store.read_log(after=after, limit=page)
    position, count, began = after, 0, perf_counter()
    while found := await store.read_log(after=position, limit=page):
        position, count = found[-1].position, count + len(found)
    return Round(count, perf_counter() - began)
