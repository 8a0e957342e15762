"""What a connection holds: answers until the end of a turn, some requests that came before them, and for how long."""

import asyncio

import pytest
import uvicorn
from uvicorn.server import ServerState

from infra.web.protocol import DISCARD_LIMIT, HEAD_LIMIT, MOST_WAITING, Protocol

ASKED = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
LENGTH = [(b"content-length", b"2")]


class Wire(asyncio.Transport):
    """A connection that keeps what is written to it until it is closed, and says in the end that it was."""

    def __init__(self):
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.sent, self.closed, self.paused = [], False, False

    def write(self, data):
        assert not self.closed
        self.sent.append(data)

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False


class Answering:
    """Answers each request, and does something before the loop's turn is over."""

    access = None

    def __init__(self, then):
        self.then, self.answered = then, asyncio.Event()

    def at_once(self, _):
        return None

    def notes(self, path):
        return [(b"x-path", path)]

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
    protocol = connected(wire, app)
    protocol.data_received(ASKED)
    async with asyncio.timeout(5):
        await app.answered.wait()
        await asyncio.sleep(0)
    return [sent.partition(b"\r\n")[0] for sent in wire.sent]


async def statuses(wire):
    """Those of all answers until the connection is closed."""
    async with asyncio.timeout(5):
        while not wire.closed:  # noqa: ASYNC110
            await asyncio.sleep(0)
    return [answer[:3] for answer in b"".join(wire.sent).split(b"HTTP/1.1 ")[1:]]


def connected(wire, app, **more):
    config = uvicorn.Config(app, http=Protocol, interface="asgi3", log_config=None, proxy_headers=False, **more)
    config.load()
    protocol = Protocol(config=config, server_state=ServerState(), app_state={})
    protocol.connection_made(wire)
    return protocol


async def test_an_answer_waits_for_the_end_of_the_turn(wire):
    seen = []
    assert await answered(wire, lambda _: seen.extend(wire.sent)) == [b"HTTP/1.1 200 OK"]
    assert (seen, wire.closed) == ([], False)


async def test_who_does_not_take_answers_gets_no_more_of_them(wire):
    asked, protocol = [], connected(wire, Answering(lambda: None))
    protocol._at_once = asked.append
    protocol.pause_writing()
    protocol.data_received(ASKED)
    protocol.resume_writing()
    await asyncio.gather(*protocol.tasks)
    assert asked == []


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


async def test_of_requests_without_end_some_are_answered_and_the_last_of_them_ends_the_connection(wire):
    app = Answering(lambda: counted.append(wire.paused))
    counted, protocol = [], connected(wire, app)
    protocol.data_received(ASKED * 5000)
    protocol.data_received(ASKED * 5000)
    assert len(protocol.pipeline) == MOST_WAITING
    assert protocol._deadline is None  # nothing cuts them that would not cut any answer
    async with asyncio.timeout(5):
        while not wire.closed:  # noqa: ASYNC110
            await asyncio.sleep(0)
    answers = b"".join(wire.sent).split(b"HTTP/1.1 ")[1:]
    assert len(answers) == len(counted) == 1 + MOST_WAITING
    assert {answer[:3] for answer in answers} == {b"200"}
    assert [b"connection: close" in answer for answer in answers] == [False] * MOST_WAITING + [True]
    # Nothing more is read as long as any of them waits.
    assert all(counted[:-1])


async def test_requests_that_wait_are_answered_in_their_order_and_the_connection_goes_on(wire):
    protocol = connected(wire, Answering(lambda: None))
    protocol.data_received(ASKED * MOST_WAITING)
    async with asyncio.timeout(5):
        while b"".join(wire.sent).count(b"HTTP/1.1 200") < MOST_WAITING:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert (wire.closed, wire.paused) == (False, False)


@pytest.mark.parametrize("stray", [b"", b"\r\n", b"\r\n\r\n"])
async def test_what_is_no_request_does_not_keep_an_idle_connection(wire, stray):
    protocol = connected(wire, Answering(lambda: None), timeout_keep_alive=0.05)
    protocol.data_received(ASKED)
    async with asyncio.timeout(5):
        while not wire.sent:  # noqa: ASYNC110
            await asyncio.sleep(0)
        protocol.data_received(stray)
        while not wire.closed:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_the_rest_of_a_body_that_was_answered_already_does_not_keep_a_connection(wire):
    protocol = connected(wire, Answering(lambda: None), timeout_keep_alive=0.05)
    protocol.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4000\r\n\r\n")
    async with asyncio.timeout(5):
        while not wire.sent:  # noqa: ASYNC110
            await asyncio.sleep(0)
        protocol.data_received(b"x")
        while not wire.closed:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


CHUNKS = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"


async def test_what_comes_after_a_body_is_no_header(wire):
    protocol = connected(wire, Answering(lambda: None))
    protocol.data_received(CHUNKS + b"authorization: Bearer x\r\n\r\n")
    assert [name for name, _ in protocol.scope["headers"]] == [b"host", b"transfer-encoding"]
    assert not wire.closed


async def test_what_comes_after_a_body_does_not_come_for_ever(wire):
    protocol = connected(wire, Answering(lambda: None))
    protocol.data_received(CHUNKS)
    line = b"x: " + b"y" * 1000 + b"\r\n"
    for _ in range(DISCARD_LIMIT // 1000 + 1):
        protocol.data_received(line)
    assert wire.closed


@pytest.mark.parametrize(
    "begun", [CHUNKS + b"x: ", CHUNKS + b"x", CHUNKS[:-3] + b"5;x="], ids=["value", "name", "size"]
)
async def test_what_the_parser_says_nothing_of_does_not_come_for_ever(wire, begun):
    protocol = connected(wire, Answering(lambda: None))
    protocol.data_received(begun)
    for _ in range(HEAD_LIMIT // 1000):
        protocol.data_received(b"y" * 1000)
    assert not wire.closed
    protocol.data_received(b"y" * 1000)
    assert wire.closed


async def test_the_size_of_a_head_is_its_own(wire):
    protocol = connected(wire, Answering(lambda: None))
    body = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (2 * HEAD_LIMIT) + b"y" * (2 * HEAD_LIMIT)
    protocol.data_received(body + ASKED)
    assert wire.sent == []
    protocol.data_received(b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * HEAD_LIMIT + b"\r\n\r\n")
    assert await statuses(wire) == [b"200", b"200", b"431"]


BODY = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (2 * HEAD_LIMIT) + b"y" * (2 * HEAD_LIMIT)
LARGE = b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * HEAD_LIMIT + b"\r\n\r\n"


async def test_what_comes_before_a_head_in_one_piece_is_not_of_its_size(wire):
    protocol = connected(wire, Answering(lambda: None))
    for cut in (1, 20, len(ASKED) - 1):
        protocol.data_received(BODY + ASKED[:cut])
        protocol.data_received(ASKED[cut:])
        assert wire.sent == []


@pytest.mark.parametrize("before", [b"", ASKED, BODY], ids=["nothing", "a request", "a body"])
@pytest.mark.parametrize("cut", [20, HEAD_LIMIT // 2, len(LARGE) - 1, len(LARGE)])
async def test_a_head_too_large_is_refused_wherever_it_is_cut(wire, before, cut):
    protocol = connected(wire, Answering(lambda: None))
    protocol.data_received(before + LARGE[:cut])
    if not wire.closed:
        protocol.data_received(LARGE[cut:])
    assert await statuses(wire) == [*([b"200"] if before else []), b"431"]


async def test_a_head_without_an_end_is_refused_after_a_body_too(wire):
    protocol = connected(wire, Answering(lambda: None))
    protocol.data_received(BODY + LARGE[:20])
    for _ in range(HEAD_LIMIT // 1000):
        protocol.data_received(b"y" * 1000)
        assert not wire.paused
    protocol.data_received(b"y" * 1000)
    assert await statuses(wire) == [b"200", b"431"]


async def test_who_still_waits_for_an_answer_gets_no_other_in_its_place(wire):
    protocol = connected(wire, Answering(lambda: None))
    protocol.data_received(ASKED + ASKED[:10])
    protocol._head_too_late()
    assert (wire.sent, wire.closed) == ([], False)
    assert await statuses(wire) == [b"200", b"408"]


TUNNEL = b"CONNECT /a HTTP/1.1\r\nhost: x\r\n\r\n"
BROKEN = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n"


@pytest.mark.parametrize(
    ("broken", "path"),
    [(b"GET /a?b HTTP/1.1\r\n: x\r\n\r\n", b"/a"), (b"garbage\r\n\r\n", b""), (BROKEN, b""), (TUNNEL, b"/a")],
    ids=["a head", "nothing", "a body", "a tunnel"],
)
@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("pieces", [1, 2])
async def test_what_is_refused_is_answered_in_its_turn_and_says_what_all_at_its_address_say(
    wire, broken, path, before, pieces
):
    protocol = connected(wire, Answering(lambda: None))
    if pieces == 1:
        protocol.data_received(ASKED * before + broken + ASKED)
    else:
        protocol.data_received(ASKED * before)
        protocol.data_received(broken + ASKED)
    assert await statuses(wire) == [b"200"] * before + [b"400"]
    assert b"\r\nx-path: " + path + b"\r\n" in wire.sent[-1]


async def test_a_body_that_is_not_valid_puts_nothing_into_an_answer_that_has_begun(wire):
    class Begun(Answering):
        async def __call__(self, _scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            self.answered.set()
            await receive()
            await receive()

    app = Begun(lambda: None)
    protocol = connected(wire, app)
    protocol.data_received(BROKEN.removesuffix(b"no size\r\n"))
    await app.answered.wait()
    protocol.data_received(b"no size\r\n")
    assert wire.closed
    assert b"".join(wire.sent).count(b"HTTP/1.1 ") == 1
    protocol.connection_lost(None)


async def test_a_refusal_does_not_wait_for_ever(wire, monkeypatch):
    class Never(Answering):
        async def __call__(self, _scope, _receive, _send):
            await self.answered.wait()

    monkeypatch.setattr("infra.web.protocol.OWED_SECONDS", 0.05)
    app = Never(lambda: None)
    connected(wire, app).data_received(ASKED + b"garbage\r\n\r\n")
    assert await statuses(wire) == []
    app.answered.set()


async def test_each_answer_that_is_owed_has_its_own_time(wire):
    class Gated(Answering):
        async def __call__(self, scope, receive, send):
            await gate.acquire()
            await super().__call__(scope, receive, send)

    gate = asyncio.Semaphore(0)
    protocol = connected(wire, Gated(lambda: None))
    protocol.data_received(ASKED * 3 + b"garbage\r\n\r\n")
    for _ in range(2):
        owed, waiting = protocol._deadline, len(protocol.pipeline)
        gate.release()
        async with asyncio.timeout(5):
            while len(protocol.pipeline) == waiting:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert owed.cancelled()
        assert protocol._deadline.when() > owed.when()
    gate.release()
    assert await statuses(wire) == [b"200", b"200", b"200", b"400"]


@pytest.mark.parametrize("behind", [0, 1])
@pytest.mark.parametrize("endless", [False, True])
async def test_an_answer_that_has_begun_is_cut_before_a_refusal_only_if_it_has_no_end(
    wire, monkeypatch, endless, behind
):
    class Begun(Answering):
        async def __call__(self, scope, receive, send):
            if self.answered.is_set():
                await super().__call__(scope, receive, send)
                return
            scope["endless"] = endless
            await send({"type": "http.response.start", "status": 200, "headers": []})
            self.answered.set()
            await ends.wait()
            await send({"type": "http.response.body", "body": b"all"})

    monkeypatch.setattr("infra.web.protocol.OWED_SECONDS", 0.01)
    ends, app = asyncio.Event(), Begun(lambda: None)
    protocol = connected(wire, app)
    protocol.data_received(ASKED)
    await app.answered.wait()
    protocol.data_received(ASKED * behind + b"garbage\r\n\r\n")
    first = protocol._deadline
    async with asyncio.timeout(5):
        while not wire.closed and protocol._deadline is first:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert wire.closed == endless
    monkeypatch.setattr("infra.web.protocol.OWED_SECONDS", 60.0)
    ends.set()
    if endless:
        protocol.connection_lost(None)
        assert await statuses(wire) == [b"200"]
    else:
        assert await statuses(wire) == [b"200"] * (1 + behind) + [b"400"]
        assert b"all" in b"".join(wire.sent)


@pytest.mark.parametrize("behind", [0, 1])
async def test_a_stream_ends_when_the_service_stops_whatever_was_asked_behind_it(wire, behind):
    class Endless(Answering):
        async def __call__(self, scope, _receive, send):
            scope["endless"] = True
            await send({"type": "http.response.start", "status": 200, "headers": []})
            self.answered.set()

    app = Endless(lambda: None)
    protocol = connected(wire, app)
    protocol.data_received(ASKED)
    await app.answered.wait()
    protocol.data_received(ASKED * behind)
    protocol.shutdown()
    assert wire.closed
