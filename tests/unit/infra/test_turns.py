"""What is written in one turn of the loop goes out at its end, in order, and to whom is still there."""

import asyncio

import pytest

from infra.turns import MOST, Turn, turn_of


class Wire:
    """A transport that keeps what it is given, in the order of all."""

    def __init__(self, sent):
        self.sent, self.closing = sent, False

    def write(self, data):
        self.sent.append(data)

    def is_closing(self):
        return self.closing


@pytest.fixture
def sent():
    return []


@pytest.fixture
def wire(sent):
    return Wire(sent)


async def test_what_is_written_goes_out_together_once_the_loop_has_nothing_else_to_do(sent, wire):
    box, loop, seen = Turn(asyncio.get_running_loop()), asyncio.get_running_loop(), []
    for number in range(3):
        loop.call_soon(box.write, wire, b"%d" % number)
        loop.call_soon(lambda: seen.append(list(sent)))
    await asyncio.sleep(0)
    assert (seen, sent) == ([[], [], []], [])
    await asyncio.sleep(0)
    assert sent == [b"0", b"1", b"2"]


async def test_nobody_waits_for_more_than_so_many(sent, wire):
    box = Turn(asyncio.get_running_loop())
    for number in range(MOST + 1):
        box.write(wire, b"%d" % number)
    assert sent == [b"%d" % number for number in range(MOST)]
    await asyncio.sleep(0)
    assert sent[MOST:] == [b"%d" % MOST]


async def test_a_flush_sends_at_once_and_nothing_twice(sent, wire):
    box = Turn(asyncio.get_running_loop())
    box.write(wire, b"a")
    box.flush()
    assert sent == [b"a"]
    box.write(wire, b"b")
    await asyncio.sleep(0)
    assert sent == [b"a", b"b"]


async def test_who_has_gone_meanwhile_holds_nobody_else_up(sent, wire):
    box, gone = Turn(asyncio.get_running_loop()), Wire(sent)
    box.write(gone, b"to nobody")
    box.write(wire, b"a")
    gone.closing = True
    await asyncio.sleep(0)
    assert sent == [b"a"]


def test_each_loop_has_one_of_its_own():
    async def own():
        return turn_of(asyncio.get_running_loop())

    async def same():
        return await own() is await own()

    assert asyncio.run(same())
    assert asyncio.run(own()) is not asyncio.run(own())
