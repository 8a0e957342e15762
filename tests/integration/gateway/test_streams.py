"""Answers without an end: they come as they are made, end with their client, and keep nobody else waiting."""

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import pytest_asyncio

from gateway.app import gateway
from gateway.instance import Limits
from infra.health import Health
from infra.web import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAM = "/v1/parcels/on-the-way/stream"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b"event: row\ndata: {}\nid: 1\n\n"
MORE = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
STREAMS = 3


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(make_world, scripted):
    async with make_world(scripted).running() as running_world:
        yield running_world


@asynccontextmanager
async def listening(world, *script):
    world.read.scripts.append(script)
    async with world.client.get(STREAM, headers=world.bearer() | {"last-event-id": "1.2"}) as answer:
        yield answer


async def test_a_service_that_stops_ends_its_streams_in_good_order(world):
    async with listening(world, HEAD + chunk(EVENT), "close") as answer:
        assert await answer.read() == EVENT


def left(world):
    return not world.read.open


async def test_events_come_as_they_are_made_and_the_cursor_reaches_the_service(world):
    async with listening(world, HEAD + chunk(EVENT)) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert await answer.content.readexactly(len(EVENT)) == EVENT
        assert b"last-event-id: 1.2" in world.read.requests[0]
    await world.until(lambda: left(world))


async def test_who_asks_with_head_gets_the_head_at_once_and_no_stream_stays_open(world):
    world.read.scripts.append((HEAD + chunk(EVENT),))
    async with world.client.head(STREAM, headers=world.bearer()) as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "text/event-stream", b"")
    assert world.read.requests[0].startswith(b"GET ")
    await world.until(lambda: left(world))


async def test_an_operation_is_told_as_it_comes_to_its_end(world):
    world.write.scripts.append((HEAD + chunk(EVENT), b"0\r\n\r\n"))
    async with world.client.get("/v1/operations/parcels-7/stream", headers=world.bearer()) as answer:
        assert (answer.status, await answer.read()) == (200, EVENT)


async def test_a_client_that_leaves_ends_the_stream_at_once(world):
    beats = [0.25, chunk(b": here\n\n")] * 60
    async with listening(world, HEAD + chunk(EVENT), *beats) as answer:
        await answer.content.readexactly(len(EVENT))
        assert not left(world)
    await world.until(lambda: left(world))


async def test_a_client_that_does_not_read_is_dropped(world):
    async with AsyncExitStack() as stack:
        answer = await stack.enter_async_context(listening(world, HEAD, *[MORE] * 1000))
        assert answer.status == 200
        await world.until(lambda: left(world))


async def test_streams_are_bounded_and_keep_nobody_waiting(world):
    async with AsyncExitStack() as stack:
        for _ in range(STREAMS):
            answer = await stack.enter_async_context(listening(world, HEAD + chunk(EVENT)))
            await answer.content.readexactly(len(EVENT))
        refused = await world.ask("GET", STREAM)
        assert (refused.status, json.loads(refused.body)["type"]) == (503, "/problems/temporary-reduced-capacity")
        assert (await world.ask("GET", "/v1/parcels/on-the-way")).status == 200
    await world.until(lambda: len(world.read.open) == 1)  # the one of the query, kept for the next
    async with listening(world, HEAD + chunk(EVENT)) as answer:
        assert answer.status == 200


@pytest_asyncio.fixture(loop_scope="module")
async def narrow(world, settings_of, domains):
    """A gateway at which nobody may have more than two streams."""
    settings = settings_of("gateway", oidc_issuer=world.address, services=world.settings.services)
    async with running(settings, gateway(settings, Health(), domains, Limits(streams_each=2)), Health()):
        yield f"https://127.0.0.1:{settings.api_port}"


async def test_nobody_has_all_streams(world, narrow):
    async def opened(stack, who, many):
        """The answers to so many at the same time, which stay open."""
        world.read.scripts += [(HEAD + chunk(EVENT),)] * many
        asked = [world.client.get(f"{narrow}{STREAM}", headers=world.bearer(sub=who)) for _ in range(many)]
        return await asyncio.gather(*map(stack.enter_async_context, asked))

    async with AsyncExitStack() as stack:
        answers = await opened(stack, "ann", 5)
        assert sorted(answer.status for answer in answers) == [200, 200, 429, 429, 429]
        refused = next(answer for answer in answers if answer.status == 429)
        problem = await refused.json(content_type="application/problem+json")
        assert (problem["type"], problem["violated-policies"]) == ("/problems/quota-exceeded", ["streams"])
        assert refused.headers["retry-after"] == "5"
        assert '"streams";q=2;qu="concurrent-requests"' in refused.headers.getall("ratelimit-policy")
        assert {answer.status for answer in await opened(stack, "bob", 2)} == {200}
        world.read.scripts.clear()
        assert (
            await world.ask("GET", "/v1/parcels/on-the-way", at=narrow, headers=world.bearer(sub="ann"))
        ).status == 200
    for _ in range(3):
        # Whoever goes away makes room for himself, as soon as it is known, and neither more nor less.
        await world.until(lambda: len(world.read.open) <= 1)
        async with AsyncExitStack() as stack:
            found = await opened(stack, "ann", 3)
            assert sorted(answer.status for answer in found) == [200, 200, 429]
            world.read.scripts.clear()


@pytest.mark.parametrize(
    "script", [("abort",), ("close",), (b"nothing\r\n\r\n",), (HEAD, "abort"), (HEAD + chunk(EVENT), "close")]
)
async def test_a_stream_that_fails_or_ends_is_not_counted(world, narrow, script):
    for _ in range(4):
        world.read.scripts += [script] * 2  # one is asked again for
        async with world.client.get(f"{narrow}{STREAM}", headers=world.bearer()) as answer:
            await answer.content.read()
            assert answer.status in (200, 502)
        world.read.scripts.clear()
