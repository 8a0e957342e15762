"""Services that are down, slow, or send what no service should: the client gets one clear answer, never a mixture."""

import asyncio
import json
from contextlib import contextmanager
from functools import partial

import aiohttp
import pytest
import pytest_asyncio

from gateway.app import gateway
from infra.health import Health
from infra.web import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
ABORT, CLOSE = "abort", "close"
SLOW = 2.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(make_world, scripted):
    async with make_world(scripted).running() as running_world:
        yield running_world


@pytest_asyncio.fixture(loop_scope="module")
async def patient(make_world, scripted):
    """A chain that waits for as long as a busy machine may need."""
    async with make_world(scripted).running(patience=30.0) as running_world:
        yield running_world


async def ask(world, *script, **more):
    world.read.scripts.append(script)
    return await world.ask("GET", "/v1/parcels/on-the-way", **more)


async def send(world, *script, **headers):
    world.write.scripts.append(script)
    given = {"content-type": "application/json", **headers}
    return await world.ask("POST", "/v1/parcels/p-1/send", data=b"{}", headers=given)


KEY = {"idempotency-key": '"k-1"'}


@pytest.mark.parametrize(
    "script",
    [
        (OK,),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK,),
        (b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", OK),
        tuple(OK[place : place + 1] for place in range(len(OK))),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1;a=b\r\n}\r\n0\r\nx: y\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", b"2\r\n", b"{}\r\n", b"0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}", CLOSE),
    ],
)
async def test_every_well_framed_answer_is_understood(world, script):
    answer = await ask(world, *script)
    assert (answer.status, answer.body) == (200, b"{}")
    assert "link" not in answer.headers
    assert (await ask(world, OK)).status == 200


@pytest.mark.parametrize(
    "script",
    [
        (b"garbage\r\n\r\n",),
        (b"\x16\x03\x01\x00\x00",),
        (b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",),
        (b"HTTP/2.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}",),
        (b"HTTP/1.1 99 No\r\ncontent-length: 2\r\n\r\n{}",),
        (b"HTTP/1.1 OK\r\ncontent-length: 2\r\n\r\n{}",),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n{}",),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", CLOSE),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n{}",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\n{}", CLOSE),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding : chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\netag: 1\r\n content-length: 2\r\n\r\n{}", CLOSE),
        (b"HTTP/1.1 200 OK\r\nx: a\x00b\r\ncontent-length: 2\r\n\r\n{}",),
        (b"HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 2\r\n\r\n{}",),
        (b"HTTP/1.1 200 OK\r\n: a\r\ncontent-length: 2\r\n\r\n{}",),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000 + b"content-length: 2\r\n\r\n{}",),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,),
        (b"HTTP/1.1 103 Early\r\nlink: </x>\r\n\r\n" * 20_000 + OK,),
        (OK + OK,),
    ],
)
async def test_what_is_no_answer_is_a_bad_gateway(world, script):
    answer = await ask(world, *script)
    assert (answer.status, answer.problem) == (502, "bad-gateway")
    following = await ask(world, OK)
    assert (following.status, following.body) == (200, b"{}")


async def test_bytes_that_nobody_asked_for_are_not_taken_for_the_next_answer(world):
    stray = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray"
    first = await ask(world, OK, 0.05, stray)
    await world.until(lambda: not world.read.open)
    second = await ask(world, OK)
    assert (first.body, second.body) == (b"{}", b"{}")


@pytest.mark.parametrize(
    "script",
    [
        (ABORT,),
        (CLOSE,),
        (b"HTTP/1.1 200", ABORT),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", CLOSE),
    ],
)
async def test_a_service_that_dies_before_its_answer_is_a_bad_gateway(world, script):
    world.read.scripts.append(script)
    answer = await ask(world, *script)
    assert (answer.status, answer.problem) == (502, "bad-gateway")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("end", [ABORT, CLOSE])
@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\n{",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n",
    ],
)
async def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(world, begin, end):
    with pytest.raises(aiohttp.ClientPayloadError):
        await ask(world, begin, end)
    assert (await ask(world, OK)).body == b"{}"


async def test_a_chunk_that_is_none_breaks_the_answer_off(world):
    with pytest.raises(aiohttp.ClientPayloadError):
        await ask(world, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n", 0.05, b"zz\r\n}\r\n")


async def test_a_service_that_does_not_answer_in_time_is_a_gateway_timeout(world):
    answer = await ask(world, SLOW, OK)
    assert (answer.status, answer.problem) == (504, "gateway-timeout")
    assert (await ask(world, OK)).body == b"{}"


async def test_an_answer_that_stops_in_its_middle_is_broken_off(world):
    with pytest.raises(aiohttp.ClientPayloadError):
        await ask(world, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", SLOW, CLOSE)


async def test_a_late_answer_is_not_given_to_the_next_request(world):
    late = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate"
    first, second = await asyncio.gather(ask(world, 1.2, late), ask(world, 1.2, late))
    assert {first.status, second.status} == {504}
    bodies = {(await ask(world, OK)).body for _ in range(5)}
    assert bodies == {b"{}"}


async def test_a_service_that_is_down_is_named_and_its_neighbour_answers(world):
    await world.read.stop()
    try:
        answer = await ask(world)
        assert (answer.status, answer.problem) == (503, "service-unavailable")
        assert answer.headers["retry-after"] == "1"
        assert (await send(world, OK)).status == 200
        assert world.health.ready
    finally:
        await world.read.start()
    world.read.forget()
    assert (await ask(world, OK)).status == 200


@pytest.mark.parametrize("principal", ["parcels-write", "orders-read", "gateway"])
async def test_a_service_must_prove_its_name(world, settings_of, principal):
    await impersonated(world, settings_of(principal))


async def test_a_service_must_be_of_our_authority(world, foreign_settings):
    await impersonated(world, foreign_settings("parcels-read"))


async def impersonated(world, identity):
    """Somebody else listens where the read side should: he gets no request."""
    await world.read.stop()
    world.read.identity = identity
    await world.read.start()
    try:
        answer = await ask(world, OK)
        assert (answer.status, answer.problem) == (503, "service-unavailable")
        assert world.read.requests == []
    finally:
        await world.read.stop()
        world.read.identity = world.read.settings
        await world.read.start()


async def warm(world, ask_or_send):
    """One connection in the pool, and nothing on record."""
    await ask_or_send(world, OK)
    world.write.forget()
    world.read.forget()


async def test_a_question_is_repeated_once_when_its_pooled_connection_is_dead(world):
    await warm(world, ask)
    world.read.scripts.append((ABORT,))
    assert (await ask(world, OK)).status == 200
    assert len(world.read.requests) == 2


async def test_a_question_is_not_repeated_more_than_once(world):
    await warm(world, ask)
    world.read.scripts += [(ABORT,), (ABORT,)]
    assert (await ask(world, OK)).status == 502
    assert len(world.read.requests) == 2


async def test_a_command_with_a_key_is_repeated_byte_for_byte(world):
    await warm(world, send)
    world.write.scripts.append((ABORT,))
    assert (await send(world, OK, **KEY)).status == 200
    first, second = world.write.requests
    assert first == second


async def test_a_command_without_a_key_is_never_repeated(world):
    await warm(world, send)
    assert (await send(world, ABORT)).status == 502
    assert len(world.write.requests) == 1


async def test_nothing_is_repeated_after_an_answer_began(world):
    await warm(world, ask)
    with pytest.raises(aiohttp.ClientPayloadError):
        await ask(world, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", ABORT)
    assert len(world.read.requests) == 1


@contextmanager
def tasks_for_requests():
    """How many requests have had a task."""
    loop, tasks = asyncio.get_running_loop(), []

    def make(loop, coroutine, **more):
        if coroutine.__name__ == "run_asgi":
            tasks.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **more)

    loop.set_task_factory(make)
    try:
        yield tasks
    finally:
        loop.set_task_factory(None)


@pytest.mark.parametrize(
    ("script", "tasks"), [((OK,), 0), ((OK[:-1], 0.05, OK[-1:]), 1), ((OK[:9], 0.05, OK[9:]), 0), ((b"x",), 1)]
)
async def test_what_comes_in_one_piece_is_answered_without_a_task(world, script, tasks):
    await warm(world, ask)
    with tasks_for_requests() as started:
        answer = await ask(world, *script)
    assert (len(started), answer.status) == (tasks, 502 if script == (b"x",) else 200)


@pytest.mark.parametrize(("seconds", "status"), [(0.2, 200), (SLOW, 503)])
async def test_who_waits_when_the_gateway_stops_is_answered(world, settings_of, domains, seconds, status):
    more = {"oidc_issuer": world.address, "services": world.settings.services, "drain_seconds": 1.0}
    settings, health = settings_of("gateway", **more), Health()
    at = f"https://127.0.0.1:{settings.api_port}"
    async with running(settings, gateway(settings, health, domains), health):
        await warm(world, partial(ask, at=at))
        asked = asyncio.create_task(ask(world, seconds, OK, at=at))
        await world.until(lambda: world.read.requests)
    assert (await asked).status == status


async def test_connections_are_used_again(world):
    await warm(world, ask)
    before = world.read.connections
    for _ in range(20):
        await ask(world, OK)
    assert world.read.connections == before


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answers_without_a_body_do_not_hang(world, status):
    for _ in range(3):
        answer = await ask(world, b"HTTP/1.1 " + status + b'\r\netag: "1"\r\n\r\n')
        assert (answer.status, answer.body) == (int(status[:3]), b"")
    await warm(world, ask)
    before = world.read.connections
    await ask(world, b"HTTP/1.1 " + status + b'\r\netag: "1"\r\ncontent-length: 5\r\n\r\n')
    assert (await ask(world, OK)).body == b"{}"
    assert world.read.connections == before


async def test_an_answer_comes_as_it_is_made(world):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    world.read.scripts.append((head, b"5\r\nfirst\r\n", 0.5, b"6\r\nsecond\r\n0\r\n\r\n"))
    async with world.client.get("/v1/parcels/on-the-way", headers=world.bearer()) as answer:
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await answer.content.readany() == b"first"
        assert loop.time() - began < 0.4
        assert await answer.content.read() == b"second"


async def test_a_huge_answer_is_handed_on_without_being_held(patient):
    size = 64 * 1024 * 1024
    patient.read.scripts.append((b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size, b"x" * size))
    async with patient.client.get("/v1/parcels/on-the-way", headers=patient.bearer()) as answer:
        assert answer.status == 200, await answer.text()
        total = 0
        async for part in answer.content.iter_any():
            total += len(part)
    assert total == size
    assert (await ask(patient, OK)).body == b"{}"


async def test_a_client_that_goes_away_harms_nobody(world):
    world.read.scripts.append((b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n{", 0.2, b"x" * 1000, CLOSE))
    asked = f"GET /v1/parcels/on-the-way HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {world.token()}\r\n\r\n"
    await world.raw(asked.encode(), until=b"\r\n\r\n")
    assert (await ask(world, OK)).body == b"{}"


async def test_many_at_once_get_each_its_own_answer(patient):
    def numbered(number):
        body = json.dumps(number).encode()
        return (b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body,)

    patient.read.scripts += [numbered(number) for number in range(300)]
    answers = await asyncio.gather(*(patient.ask("GET", "/v1/parcels/on-the-way") for _ in range(300)))
    assert sorted(int(answer.body) for answer in answers) == list(range(300))
