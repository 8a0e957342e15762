"""Answers without an end: they come as they are made, end with their client, and keep nobody else waiting."""

import json
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import pytest_asyncio

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
