"""The group committer's decisions, over a scripted session."""

import asyncio
from dataclasses import replace

import pytest

from eventstore.committer import GroupCommitter
from eventstore.errors import InvalidEvent, OutcomeUnknown, StoreBusy, StoreUnavailable
from eventstore.records import Appended
from eventstore.session import Backend, ConnectionLost, NotSent, RolledBack
from tests.unit.eventstore.scripted import MOMENT, QUICK, Committing, Server, Session, command, fails, sent


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


async def test_however_often_a_connection_breaks_a_caller_is_answered_in_time():
    limits = replace(QUICK, attempts=1_000_000)
    server = Server(*[fails(ConnectionLost())] * 10_000)
    async with Committing(server, limits) as committer, asyncio.timeout(50 * limits.settle_seconds):
        [answer] = await sent(committer, command("orders-1"))
    assert isinstance(answer, StoreUnavailable | OutcomeUnknown)
    assert server.recorded == {}


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
