"""Whoever sees a position has seen all before it, whatever others hold back, give up or lose; and who would notice."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from eventstore.batch import Command, arguments, register
from eventstore.errors import StoreBusy
from eventstore.link import connect
from eventstore.postgres import PostgresStore
from eventstore.records import Any, Append, NewEvent
from eventstore.session import APPEND_BATCH

WRITERS, ADVERSARIES = 64, 4
# For a long run: HEADRACE_GAP_EVENTS=1000000.
EVENTS = int(os.environ.get("HEADRACE_GAP_EVENTS", "10000"))
Read = Callable[[int], Awaitable[Sequence[int]]]


@dataclass
class Tail:
    """Reads on from the last position that it has seen, as any consumer of a log does."""

    read: Read
    seen: list[int] = field(default_factory=list)
    stopped: bool = False

    async def follow(self) -> None:
        while True:
            last_round = self.stopped
            page = await self.read(self.seen[-1] if self.seen else 0)
            self.seen += page
            if last_round and not page:
                return
            await asyncio.sleep(0)

    def faults(self, committed: Sequence[int]) -> dict[str, int]:
        unordered = sum(later <= earlier for earlier, later in zip(self.seen, self.seen[1:], strict=False))
        doubled = len(self.seen) - len(set(self.seen))
        return {"skipped": len(set(committed) - set(self.seen)), "doubled": doubled, "out of order": unordered}


async def beside(tail: Tail, work: Awaitable[None]) -> None:
    following = asyncio.create_task(tail.follow())
    try:
        await work
    finally:
        tail.stopped = True
        await following


def events(number: int) -> list[NewEvent]:
    return [NewEvent("orders.Happened.v1", b'"%s"' % (b"x" * 100), datetime.now(UTC)) for _ in range(number)]


def append(chance: Random) -> Append:
    name = f"orders-{uuid4().hex if chance.random() < 0.7 else chance.randrange(20)}"
    return Append(name, events(chance.choice((1, 1, 2, 5))), Any())


async def writer(store: PostgresStore, chance: Random, enough: Callable[[], bool]) -> None:
    while not enough():
        try:
            await store.append(append(chance))
        except StoreBusy:
            await asyncio.sleep(0.01)


async def adversary(conninfo: str, chance: Random, enough: Callable[[], bool], done: dict[str, int]) -> None:
    """Appends in transactions of its own that are held, and then committed, rolled back, or killed."""
    while not enough():
        async with await connect(conninfo) as connection, await connect(conninfo) as killer:
            await connection.set_autocommit(False)
            register(connection)
            end = chance.choice(("commit", "rollback", "kill"))
            await asyncio.sleep(chance.uniform(0, 0.03))
            with suppress(psycopg.OperationalError):
                await connection.execute(APPEND_BATCH, arguments([Command.of(append(chance))]))
                await asyncio.sleep(chance.uniform(0, 0.01))
                if end == "kill":
                    await killer.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
                await (connection.rollback() if end == "rollback" else connection.commit())
            done[end] = done.get(end, 0) + 1


@pytest.mark.timeout(1800)
async def test_a_tailing_reader_beside_writers_and_adversaries_misses_nothing(place, capsys):
    chance, done = Random(64), dict[str, int]()
    async with PostgresStore.open(place.writer) as store:

        async def read(after: int) -> list[int]:
            return [event.position for event in await store.read_log(after=after, limit=500)]

        tail = Tail(read)

        def enough() -> bool:
            return bool(tail.seen) and tail.seen[-1] >= EVENTS

        async def work() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(WRITERS):
                    group.create_task(writer(store, Random(number), enough))
                for _ in range(ADVERSARIES):
                    group.create_task(adversary(place.writer, Random(chance.random()), enough, done))

        await beside(tail, work())
        committed = list(range(1, await store.head() + 1))
    with capsys.disabled():
        held = ", ".join(f"{count} {end}" for end, count in sorted(done.items()))
        print(f"\ntailing {len(tail.seen)} events beside {WRITERS} writers; held transactions: {held}")  # noqa: T201
    assert tail.seen == committed
    assert tail.faults(committed) == {"skipped": 0, "doubled": 0, "out of order": 0}
    assert set(done) == {"commit", "rollback", "kill"}


async def test_the_same_reader_catches_a_log_that_takes_its_positions_from_a_sequence(bare):
    """A test of the test: numbers are given out before the commit, so a slow transaction appears behind the reader."""
    table = Identifier(f"naive_{uuid4().hex}")
    async with await psycopg.AsyncConnection.connect(bare.owner, autocommit=True) as making:
        await making.execute(SQL("CREATE TABLE {} (position bigserial PRIMARY KEY)").format(table))
        writing = SQL("INSERT INTO {} DEFAULT VALUES").format(table)
        reading = SQL("SELECT position FROM {} WHERE position > %s ORDER BY position LIMIT 500").format(table)
        everything = SQL("SELECT position FROM {} ORDER BY position").format(table)

        async def read(after: int) -> list[int]:
            return [row[0] for row in await (await making.execute(reading, [after])).fetchall()]

        async def write(chance: Random) -> None:
            async with await psycopg.AsyncConnection.connect(bare.owner) as connection:
                for _ in range(30):
                    await connection.execute(writing)
                    await asyncio.sleep(chance.uniform(0, 0.01))
                    await (connection.rollback() if chance.random() < 0.2 else connection.commit())

        async def work() -> None:
            await asyncio.gather(*(write(Random(number)) for number in range(8)))

        tail = Tail(read)
        await beside(tail, work())
        committed = [row[0] for row in await (await making.execute(everything)).fetchall()]
    assert tail.faults(committed)["skipped"] > 0
    assert committed != list(range(1, len(committed) + 1))
