"""What was acknowledged is there and nothing else is, whatever dies when."""

import asyncio
import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from time import monotonic
from uuid import UUID, uuid4

import pytest
from psycopg import AsyncConnection, OperationalError

from eventstore.committer import Limits
from eventstore.errors import OutcomeUnknown, StoreBusy, StoreUnavailable
from eventstore.link import connect, patience
from eventstore.postgres import PostgresStore
from eventstore.records import Any, Append, Appended, IdempotencyKey, NewEvent
from infra.postgres import conninfo

KILLS = int(os.environ.get("HEADRACE_STORE_KILLS", "3"))  # of PostgreSQL, for each seed
SEEDS = range(1, 1 + int(os.environ.get("HEADRACE_STORE_SEEDS", "2")))


@dataclass
class Load:
    """Writers that append as fast as they can, and what they were told."""

    store: PostgresStore
    seed: int
    acknowledged: dict[UUID, Appended] = field(default_factory=dict)
    refused: set[UUID] = field(default_factory=set)
    unknown: set[UUID] = field(default_factory=set)
    slowest: float = 0.0
    stopped: bool = False

    async def run(self, writers: int) -> None:
        await asyncio.gather(*(self.write(Random(self.seed * 1000 + n)) for n in range(writers)))

    async def write(self, chance: Random) -> None:
        while not self.stopped:
            stream = f"orders-{uuid4() if chance.random() < 0.6 else chance.randrange(5)}"
            moment = datetime.now(UTC)
            events = [NewEvent("orders.X.v1", b'"%s"' % (b"x" * 200), moment) for _ in range(chance.choice((1, 1, 3)))]
            key = IdempotencyKey(str(uuid4()), b"f") if chance.random() < 0.5 else None
            began = monotonic()
            await self.settle(Append(stream, events, Any(), key))
            self.slowest = max(self.slowest, monotonic() - began)

    async def settle(self, append: Append) -> None:
        last = append.events[-1].id
        try:
            self.acknowledged[last] = await self.store.append(append)
        except OutcomeUnknown:
            self.unknown.add(last)
        except (StoreUnavailable, StoreBusy):
            self.refused.add(last)
            await asyncio.sleep(0.01)

    async def check(self) -> None:
        """Every acknowledged event stands where it was said to be, no refused one does, and nothing is there twice."""
        log = await whole(self.store)
        assert [event.position for event in log] == list(range(1, len(log) + 1))
        assert max(Counter(event.id for event in log).values()) == 1
        places = {event.id: (event.stream, event.version, event.position) for event in log}
        said = {id: (a.stream, a.version, a.position) for id, a in self.acknowledged.items()}
        assert said.items() <= places.items()
        assert not self.refused & places.keys()
        versions: Counter[str] = Counter()
        for event in log:
            versions[event.stream] += 1
            assert event.version == versions[event.stream]


async def whole(store):
    log = []
    while page := await store.read_log(after=len(log), limit=10_000):
        log += page
    return log


async def loaded(load, writers, disturb):
    task = asyncio.create_task(load.run(writers))
    try:
        await disturb()
        before = len(load.acknowledged)
        async with asyncio.timeout(30):
            while len(load.acknowledged) < before + 100:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        load.stopped = True
        await task


@pytest.mark.parametrize("seed", SEEDS)
async def test_postgresql_is_killed_under_load(place, seed):
    chance = Random(seed)
    async with PostgresStore.open(place.writer) as store:
        load = Load(store, seed)

        async def disturb():
            for _ in range(KILLS):
                await asyncio.sleep(chance.uniform(0.1, 0.6))
                await asyncio.to_thread(place.floor.kill, "postgres")
                await asyncio.sleep(chance.uniform(0, 0.2))
                await asyncio.to_thread(place.revive, "postgres")

        await loaded(load, 32, disturb)
        await load.check()
        assert load.acknowledged
        assert load.slowest < Limits().settle_seconds + 10  # to look for an outcome, and once more to connect


@pytest.mark.parametrize("seed", SEEDS)
async def test_connections_are_cut_under_load(place, seed):
    chance = Random(seed)
    superuser = conninfo(place.floor.settings("postgres"), "crash_events")
    async with PostgresStore.open(place.writer) as store, await AsyncConnection.connect(superuser) as admin:
        await admin.set_autocommit(True)
        load = Load(store, seed)

        async def disturb():
            for _ in range(25):
                await asyncio.sleep(chance.uniform(0.01, 0.15))
                await admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'crash-write'"
                )

        await loaded(load, 64, disturb)
        await load.check()
        assert not load.unknown


async def test_two_stores_on_one_database_count_as_one(place):
    async with PostgresStore.open(place.writer) as one, PostgresStore.open(place.writer) as other:
        loads = [Load(one, 1), Load(other, 2)]
        tasks = [asyncio.create_task(load.run(16)) for load in loads]
        await asyncio.sleep(0.5)
        for load in loads:
            load.stopped = True
        await asyncio.gather(*tasks)
        loads[0].acknowledged |= loads[1].acknowledged
        await loads[0].check()
        assert len(loads[1].acknowledged) > 100


async def test_while_postgresql_is_down_every_call_fails_fast_and_then_works_again(place):
    append = Append("orders-1", [NewEvent("orders.X.v1", b"1", datetime.now(UTC))], Any())
    async with PostgresStore.open(place.writer) as store:
        await store.append(append)
        place.floor.kill("postgres")
        for call in (lambda: store.append(append), store.head, store.read_log, lambda: store.read_stream("orders-1")):
            began = monotonic()
            with pytest.raises(StoreUnavailable):
                await call()
            assert monotonic() - began < 3
        assert store.problem() is not None
        assert await store.wait_beyond(1, 0.2) == 1
        place.revive("postgres")
        async with asyncio.timeout(15):
            while store.problem() is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await store.append(Append("orders-2", [*append.events], Any()))).position == 2
        assert await store.wait_beyond(1, 10) == 2


async def test_a_store_opens_while_postgresql_is_down(place):
    place.floor.kill("postgres")
    async with PostgresStore.open(place.writer) as store:
        assert "refused" in store.problem()
        with pytest.raises(StoreUnavailable):
            await store.append(Append("orders-1", [], Any()))
        place.revive("postgres")
        async with asyncio.timeout(15):
            while store.problem() is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await store.head() == 0


async def test_who_tails_is_woken_by_another_process_also_after_a_crash(place):
    append = Append("orders-1", [NewEvent("orders.X.v1", b"1", datetime.now(UTC))], Any())
    async with PostgresStore.open(place.writer) as writer, PostgresStore.open(place.reader) as reader:
        for position in (1, 2):
            waiting = asyncio.create_task(reader.wait_beyond(position - 1, 20))
            async with asyncio.timeout(20):
                while (await writer.append(append)).position < position:
                    pass
                assert await waiting >= position
            if position == 1:
                place.floor.kill("postgres")
                place.revive("postgres")
                with suppress(StoreUnavailable):
                    await writer.append(append)


async def test_a_server_that_falls_silent_is_hung_up_on(place):
    connection = await connect(place.writer)
    began = monotonic()
    with pytest.raises(OperationalError), patience(connection, 0.3):
        await connection.execute("SELECT pg_sleep(30)")
    assert monotonic() - began < 5
    assert connection.closed
    await connection.close()


async def test_a_batch_that_waits_for_a_lock_is_given_up_and_nothing_is_written(place):
    append = Append("orders-1", [NewEvent("orders.X.v1", b"1", datetime.now(UTC))], Any())
    async with PostgresStore.open(place.conninfo("crash-write", "-c statement_timeout=300")) as store:
        holder = await AsyncConnection.connect(place.owner)
        await holder.execute("SELECT 1 FROM head FOR UPDATE")
        with pytest.raises(StoreUnavailable, match="timeout"):
            await store.append(append)
        await holder.close()
        assert (await store.append(append)).position == 1
