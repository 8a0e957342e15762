"""An answer is one write when its length is known, and never other than it was said to be."""

import asyncio
import logging
from types import SimpleNamespace

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from infra.turns import turn_of
from infra.web.cycle import Cycle

pytestmark = pytest.mark.asyncio

LENGTH = (b"content-length", b"2")


class Wire:
    def __init__(self):
        self.written, self.closed = [], False

    def write(self, data):
        self.written.append(data)

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed


def cycle_of(method="GET", *, keep_alive=True):
    wire = Wire()
    given = {"transport": wire, "flow": FlowControl(wire), "logger": logging.getLogger("test")}
    protocol = SimpleNamespace(expect_100_continue=False, on_response_complete=list, **given)
    return Cycle(protocol, {"method": method}, turn_of(asyncio.get_running_loop()), keep_alive=keep_alive)


def written(cycle):
    """What has gone out when the turn of the loop is over."""
    turn_of(asyncio.get_running_loop()).flush()
    return cycle.transport.written


async def answered(cycle, status, headers, *parts):
    await cycle.send({"type": "http.response.start", "status": status, "headers": headers})
    for number, part in enumerate(parts, 1):
        await cycle.send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})
    return written(cycle)


async def test_head_and_body_are_one_write():
    assert await answered(cycle_of(), 200, [LENGTH], b"{}") == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"]


async def test_a_whole_answer_needs_no_waiting():
    cycle = cycle_of(keep_alive=False)
    cycle.respond(200, [LENGTH], b"{}")
    assert written(cycle) == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"]
    assert cycle.response_complete
    assert cycle.transport.closed


async def test_nothing_is_written_to_a_client_that_has_gone():
    cycle = cycle_of()
    cycle.disconnected = True
    cycle.respond(200, [LENGTH], b"{}")
    assert written(cycle) == []


async def test_the_head_of_an_answer_without_a_length_does_not_wait():
    cycle = cycle_of()
    head = b"HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n"
    assert await answered(cycle, 200, [(b"x", b"y")]) == [head]
    await cycle.send({"type": "http.response.body", "body": b"one", "more_body": True})
    await cycle.send({"type": "http.response.body", "body": b""})
    assert written(cycle) == [head, b"3\r\none\r\n", b"0\r\n\r\n"]


@pytest.mark.parametrize(
    ("method", "status", "headers"), [("HEAD", 200, [LENGTH]), ("GET", 304, []), ("GET", 204, []), ("HEAD", 200, [])]
)
async def test_what_has_no_body_is_its_head(method, status, headers):
    cycle = cycle_of(method)
    (sent,) = await answered(cycle, status, headers, b"")
    assert sent.endswith(b"\r\n\r\n")
    assert b"chunked" not in sent
    assert cycle.response_complete


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\x00b", b"\x7f"])
@pytest.mark.parametrize("place", [0, 1])
async def test_a_header_cannot_become_two(value, place):
    header = (b"x", value) if place else (value, b"x")
    cycle = cycle_of()
    with pytest.raises(RuntimeError, match="control"):
        await answered(cycle, 200, [header, LENGTH], b"{}")
    assert written(cycle) == []


@pytest.mark.parametrize("parts", [(b"{",), (b"{}}",), (b"{", b"}}")])
async def test_a_body_is_as_long_as_it_was_said_to_be(parts):
    with pytest.raises(RuntimeError, match="not as long"):
        await answered(cycle_of(), 200, [LENGTH], *parts)


async def test_there_is_one_answer():
    cycle = cycle_of()
    await answered(cycle, 200, [LENGTH], b"{}")
    with pytest.raises(RuntimeError, match="second"):
        await answered(cycle, 200, [LENGTH])
    with pytest.raises(RuntimeError, match="outside"):
        await cycle.send({"type": "http.response.body", "body": b"{}"})


async def test_a_body_that_is_here_is_received_once():
    cycle = cycle_of("POST")
    cycle.body, cycle.more_body = bytearray(b"{}"), False
    cycle.message_event.set()
    assert await cycle.receive() == {"type": "http.request", "body": b"{}", "more_body": False}
    cycle.disconnected = True
    cycle.message_event.set()
    assert await cycle.receive() == {"type": "http.disconnect"}
