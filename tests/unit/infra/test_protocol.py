"""An answer that waits for the end of the turn goes out before its connection is closed, and before what comes next."""

import asyncio

import pytest
import uvicorn
from uvicorn.server import ServerState

from infra.web.protocol import Protocol

ASKED = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
LENGTH = [(b"content-length", b"2")]


class Wire(asyncio.Transport):
    """A connection that keeps what is written to it until it is closed, and says in the end that it was."""

    def __init__(self):
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.sent, self.closed = [], False

    def write(self, data):
        assert not self.closed
        self.sent.append(data)

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True


class Answering:
    """Answers each request, and does something before the loop's turn is over."""

    def __init__(self, then):
        self.then, self.answered = then, asyncio.Event()

    def at_once(self, _):
        return None

    async def __call__(self, _scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": LENGTH})
        await send({"type": "http.response.body", "body": b"ok"})
        self.then()
        self.answered.set()


@pytest.fixture
def wire():
    return Wire()


async def answered(wire, then):
    """What was sent when a request was answered, and this was done in the same turn."""
    app = Answering(lambda: then(protocol))
    config = uvicorn.Config(app, http=Protocol, interface="asgi3", log_config=None, proxy_headers=False)
    config.load()
    protocol = Protocol(config=config, server_state=ServerState(), app_state={})
    protocol.connection_made(wire)
    protocol.data_received(ASKED)
    async with asyncio.timeout(5):
        await app.answered.wait()
        await asyncio.sleep(0)
    return [sent.partition(b"\r\n")[0] for sent in wire.sent]


async def test_an_answer_waits_for_the_end_of_the_turn(wire):
    seen = []
    assert await answered(wire, lambda _: seen.extend(wire.sent)) == [b"HTTP/1.1 200 OK"]
    assert (seen, wire.closed) == ([], False)


async def test_a_service_that_stops_sends_it_first(wire):
    assert await answered(wire, Protocol.shutdown) == [b"HTTP/1.1 200 OK"]
    assert wire.closed


async def test_a_refusal_of_what_comes_next_comes_after_it(wire):
    refused = [b"HTTP/1.1 200 OK", b"HTTP/1.1 400 Bad Request"]
    assert await answered(wire, lambda protocol: protocol.data_received(b"garbage\r\n\r\n")) == refused
    assert wire.closed


async def test_a_head_that_comes_too_late_takes_no_answer_with_it(wire):
    def late(protocol):
        protocol.data_received(ASKED[:10])
        protocol._too_late()

    assert await answered(wire, late) == [b"HTTP/1.1 200 OK"]
    assert wire.closed
