"""The group committer's decisions, over a scripted session."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from eventstore.batch import Command
from eventstore.committer import GroupCommitter, Limits
from eventstore.errors import InvalidEvent, OutcomeUnknown, StoreBusy, StoreUnavailable
from eventstore.records import Any, Append, Appended, Condition, IdempotencyKey, NewEvent, Selection
from eventstore.session import Backend, ConnectionLost, NotSent, RolledBack

MOMENT = datetime(2010, 12, 1, tzinfo=UTC)
QUICK = Limits(settle_seconds=0.2, retry_seconds=(0.001, 0.01), lanes=1)
TWO = replace(QUICK, lanes=2, shared_from=4)


class Server:
    """What the sessions of a test talk to: a log, and a script of what goes wrong at each batch."""

    def __init__(self, *script):
        self.script = list(script)
        self.recorded: dict[str, Appended] = {}
        self.batches: list[list[str]] = []
        self.connections = 0
        self.refusing = 0
        self.fenced: list[int] = []
        self.may_fence = True

    async def connect(self):
        if self.refusing:
            self.refusing -= 1
            raise StoreUnavailable("refused")
        self.connections += 1
        return Session(self, Backend(self.connections, MOMENT))

    def record(self, batch):
        for command in batch:
            stream = command.parts[0].stream
            self.recorded[stream] = Appended(stream, 1, len(self.recorded) + 1)
        return [self.recorded[command.parts[0].stream] for command in batch]


class Session:
    def __init__(self, server, backend):
        self.server, self.backend, self.closed = server, backend, False

    async def append(self, batch):
        assert not self.closed
        self.server.batches.append([command.parts[0].stream for command in batch])
        await asyncio.sleep(0)
        act = self.server.script.pop(0) if self.server.script else self.server.record
        return act(batch)

    async def outcome(self, command):
        return self.server.recorded.get(command.parts[0].stream)

    async def fence(self, backend):
        self.server.fenced.append(backend.pid)
        return self.server.may_fence

    async def close(self):
        self.closed = True


def fails(error):
    def act(batch):  # noqa: ARG001
        raise error

    return act


def command(name, key=None):
    events = [NewEvent("orders.X.v1", b"1", MOMENT)]
    return Command.of(Append(name, events, Any(), IdempotencyKey(key, b"f") if key else None))


class Committing:
    def __init__(self, server, limits=QUICK):
        self.committer = GroupCommitter(server.connect, limits)

    async def __aenter__(self):
        await self.committer.open()
        return self.committer

    async def __aexit__(self, *error):
        await self.committer.close(1)


async def sent(committer, *commands):
    async with asyncio.timeout(10):
        return await asyncio.gather(*map(committer.append, commands), return_exceptions=True)


async def test_what_waits_goes_into_one_batch():
    server = Server()
    async with Committing(server) as committer:
        answers = await sent(committer, *(command(f"orders-{n}") for n in range(5)))
    assert server.batches == [[f"orders-{n}" for n in range(5)]]
    assert [answer.position for answer in answers] == [1, 2, 3, 4, 5]


async def test_a_stream_and_a_key_stand_once_in_a_batch_and_in_order():
    server = Server()
    async with Committing(server) as committer:
        await sent(
            committer,
            command("orders-1"),
            command("orders-1"),
            command("orders-2", "k"),
            command("orders-3", "k"),
            command("orders-3"),
        )
    assert server.batches == [["orders-1", "orders-2"], ["orders-1", "orders-3"], ["orders-3"]]


async def test_a_batch_has_a_largest_size():
    server = Server()
    async with Committing(server, replace(QUICK, batch=2)) as committer:
        await sent(committer, *(command(f"orders-{n}") for n in range(5)))
    assert [len(batch) for batch in server.batches] == [2, 2, 1]


async def test_a_full_queue_refuses_at_once():
    async with Committing(Server(), replace(QUICK, waiting=2)) as committer:
        answers = await sent(committer, *(command(f"orders-{n}") for n in range(4)))
        assert [type(answer) for answer in answers] == [Appended, Appended, StoreBusy, StoreBusy]
        assert answers[2].retry_after > 0
        assert (await sent(committer, command("orders-9")))[0].position == 3


async def test_a_queue_that_holds_too_many_bytes_refuses_at_once():
    async with Committing(Server(), replace(QUICK, waiting_bytes=300)) as committer:
        answers = await sent(committer, *(command(f"orders-{n}") for n in range(4)))
        assert [type(answer) for answer in answers] == [Appended, Appended, StoreBusy, StoreBusy]
        assert [type(answer) for answer in await sent(committer, command("orders-8"), command("orders-9"))] == [
            Appended,
            Appended,
        ]


async def test_a_lost_batch_that_was_committed_is_found_and_not_sent_again():
    server = Server()

    def committed_but_lost(batch):
        server.record(batch)
        raise ConnectionLost

    server.script = [committed_but_lost]
    async with Committing(server) as committer:
        answers = await sent(committer, command("orders-1"), command("orders-2"))
    assert [answer.position for answer in answers] == [1, 2]
    assert server.batches == [["orders-1", "orders-2"]]
    assert server.fenced == [1]


async def test_a_lost_batch_that_was_not_committed_is_sent_again_in_order():
    server = Server(fails(ConnectionLost()))
    async with Committing(server) as committer:
        answers = await sent(committer, command("orders-1"), command("orders-2"))
    assert [answer.position for answer in answers] == [1, 2]
    assert server.batches == [["orders-1", "orders-2"]] * 2


async def test_nothing_is_sent_again_while_the_lost_session_may_be_at_work():
    server = Server(fails(ConnectionLost()))
    server.may_fence = False
    async with Committing(server) as committer:
        answers = await sent(committer, command("orders-1"))
    assert [type(answer) for answer in answers] == [OutcomeUnknown]
    assert server.batches == [["orders-1"]]


async def test_an_outcome_that_nobody_can_tell_is_said_to_be_unknown():
    server = Server()

    def lost_for_good(batch):  # noqa: ARG001
        server.refusing = 1_000_000
        raise ConnectionLost

    server.script = [lost_for_good]
    async with Committing(server) as committer:
        answers = await sent(committer, command("orders-1"))
        assert [type(answer) for answer in answers] == [OutcomeUnknown]
        assert committer.down == "refused"
        with pytest.raises(StoreUnavailable):
            committer.submit(command("orders-2"))
        server.refusing = 0
        async with asyncio.timeout(5):
            while committer.down is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert [answer.position for answer in await sent(committer, command("orders-3"))] == [1]


async def test_a_batch_that_was_never_sent_is_refused_while_there_is_no_connection():
    server = Server()

    def never_sent(batch):  # noqa: ARG001
        server.refusing = 3
        raise NotSent

    server.script = [never_sent]
    async with Committing(server) as committer:
        answers = await sent(committer, command("orders-1"))
    assert [type(answer) for answer in answers] == [StoreUnavailable]
    assert server.recorded == {}


async def test_a_connection_that_always_breaks_ends_with_a_refusal():
    server = Server(*[fails(ConnectionLost())] * 20)
    async with Committing(server) as committer:
        answers = await sent(committer, command("orders-1"))
    assert [type(answer) for answer in answers] == [StoreUnavailable]
    assert len(server.batches) == QUICK.attempts


async def test_the_culprit_alone_is_refused():
    server = Server()

    def picky(batch):
        if any(command.parts[0].stream == "orders-3" for command in batch):
            raise RolledBack(InvalidEvent("no"))
        return server.record(batch)

    server.script = [picky] * 20
    async with Committing(server) as committer:
        answers = await sent(committer, *(command(f"orders-{n}") for n in range(7)))
    assert [type(answer) for answer in answers].count(InvalidEvent) == 1
    assert isinstance(answers[3], InvalidEvent)
    assert list(server.recorded) == [f"orders-{n}" for n in (0, 1, 2, 4, 5, 6)]


async def test_a_transient_refusal_is_tried_again():
    server = Server(*[fails(RolledBack(StoreUnavailable("deadlock"), transient=True))] * 2)
    async with Committing(server) as committer:
        answers = await sent(committer, command("orders-1"), command("orders-2"))
    assert [answer.position for answer in answers] == [1, 2]


async def test_an_error_that_nobody_foresaw_leaves_no_caller_waiting():
    server = Server(fails(ZeroDivisionError()))
    async with Committing(server) as committer:
        answers = await sent(committer, command("orders-1"))
    assert [answer.position for answer in answers] == [1]


async def test_closing_commits_what_waits():
    server = Server()
    committer = GroupCommitter(server.connect, QUICK)
    await committer.open()
    coming = [committer.submit(command(f"orders-{n}")) for n in range(3)]
    await committer.close(5)
    assert [answer.result().position for answer in coming] == [1, 2, 3]
    with pytest.raises(StoreUnavailable):
        committer.submit(command("orders-9"))


async def test_closing_while_the_database_hangs_is_bounded():
    server = Server()
    hanging = asyncio.Event()

    class Hanging(Session):
        async def append(self, batch):  # noqa: ARG002
            await hanging.wait()

    async def connect():
        return Hanging(server, Backend(1, MOMENT))

    committer = GroupCommitter(connect, QUICK)
    await committer.open()
    sending = committer.submit(command("orders-1"))
    await asyncio.sleep(0.01)
    waiting = committer.submit(command("orders-2"))
    async with asyncio.timeout(5):
        await committer.close(0.05)
    assert isinstance(sending.result(), OutcomeUnknown)
    assert isinstance(waiting.result(), StoreUnavailable)


async def test_who_gave_up_before_the_batch_is_left_out():
    server = Server()
    async with Committing(server) as committer:
        committer.submit(command("orders-1")).cancel()
        await sent(committer, command("orders-2"))
    assert server.batches == [["orders-2"]]


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
    alone = replace(command("orders-2"), condition=Condition(0, [Selection()]))
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
