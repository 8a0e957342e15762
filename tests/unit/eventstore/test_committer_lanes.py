"""Two sessions of one committer: what they share, and what they leave to each other."""

import asyncio
from dataclasses import replace

from msgspec import structs

from eventstore.committer import GroupCommitter
from eventstore.errors import StoreUnavailable
from eventstore.records import Condition, Selection
from eventstore.session import ConnectionLost
from tests.unit.eventstore.scripted import TWO, Committing, Server, command, sent


class Slow(Server):
    """Batches that end when the test says so."""

    def __init__(self, *script):
        super().__init__(*script)
        self.going: list[asyncio.Event] = []

    async def connect(self):
        session = await super().connect()
        at_once = session.append

        async def append(batch):
            self.going.append(ending := asyncio.Event())
            self.batches.append([each.parts[0].stream for each in batch])
            await ending.wait()
            self.batches, kept = [], self.batches
            try:
                return await at_once(batch)
            finally:
                self.batches = kept

        session.append = append
        return session

    async def under_way(self, count):
        async with asyncio.timeout(5):
            while len(self.going) < count:  # noqa: ASYNC110
                await asyncio.sleep(0)


async def test_an_idle_lane_gets_its_share_while_the_other_one_is_at_work():
    server = Slow()
    async with Committing(server, TWO) as committer:
        answers = [committer.submit(command(f"orders-{number}")) for number in range(6)]
        await server.under_way(2)
        assert server.batches == [["orders-0", "orders-1", "orders-2"], ["orders-3", "orders-4", "orders-5"]]
        for ending in server.going:
            ending.set()
        assert {(await answer).stream for answer in answers} == {f"orders-{number}" for number in range(6)}


async def test_few_commands_go_into_one_batch_although_a_lane_is_idle():
    server = Slow()
    async with Committing(server, TWO) as committer:
        for number in range(3):
            committer.submit(command(f"orders-{number}"))
        await server.under_way(1)
        assert server.batches == [["orders-0", "orders-1", "orders-2"]]
        server.going[0].set()


async def test_little_waits_for_the_end_of_the_batch_that_is_under_way():
    server = Slow()
    async with Committing(server, replace(TWO, shared_from=8)) as committer:
        answers = [committer.submit(command("orders-0"))]
        await server.under_way(1)
        answers += [committer.submit(command(f"orders-{number}")) for number in range(1, 4)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert server.batches == [["orders-0"]]
        server.going[0].set()
        await server.under_way(2)
        assert server.batches[1] == ["orders-1", "orders-2", "orders-3"]
        server.going[1].set()
        await asyncio.gather(*answers)


async def test_what_one_lane_has_of_a_stream_no_other_lane_takes_before_it_is_answered():
    server = Slow()
    async with Committing(server, TWO) as committer:
        first = committer.submit(command("orders-1"))
        await server.under_way(1)
        later = [committer.submit(command(name)) for name in ("orders-1", "orders-2", "orders-1")]
        await server.under_way(2)
        assert server.batches == [["orders-1"], ["orders-2"]]
        server.going[0].set()
        await first
        await server.under_way(3)
        assert server.batches[2] == ["orders-1"]
        for _ in range(3):
            for ending in server.going:
                ending.set()
            await asyncio.sleep(0.01)
        await asyncio.gather(*later)


async def test_a_lane_that_lost_its_session_finds_out_while_the_other_one_goes_on():
    def records_and_breaks(batch):
        server.record(batch)
        raise ConnectionLost("gone")

    server = Slow(records_and_breaks)
    async with Committing(server, TWO) as committer:
        lost = committer.submit(command("orders-1"))
        await server.under_way(1)
        server.going[0].set()
        other = committer.submit(command("orders-2"))
        await server.under_way(2)
        server.going[1].set()
        assert (await other).stream == "orders-2"
        assert (await lost).stream == "orders-1"
    assert server.fenced in ([1], [2])


async def test_a_command_with_a_condition_is_a_batch_of_its_own():
    server = Server()
    alone = structs.replace(command("orders-2"), condition=Condition(0, [Selection()]))
    async with Committing(server) as committer:
        await sent(committer, command("orders-1"), alone, command("orders-3"), command("orders-4"))
    assert server.batches == [["orders-1"], ["orders-2"], ["orders-3", "orders-4"]]


async def test_while_one_lane_is_connected_nothing_is_refused():
    server = Server()
    committer = GroupCommitter(server.connect, TWO)
    first = server.connect

    async def once():
        if server.connections:
            raise StoreUnavailable("refused")
        return await first()

    committer._connect = once
    await committer.open()
    assert committer.down is None
    assert [answer.stream for answer in await sent(committer, *(command(f"orders-{n}") for n in range(9)))]
    await committer.close(1)
