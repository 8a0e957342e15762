"""The demo's client: whole answers over kept connections, or an error."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from domains.orders.demo.client import Client

ANSWER = b'HTTP/1.1 201 Created\r\nContent-Length: 2\r\nETag: "1"\r\n\r\n{}'


@asynccontextmanager
async def serving(*answers):
    """A client of a server that gives these answers in turn, and what it was asked, by connection."""
    heard, left, tasks = [], list(answers), []

    async def answer(reader, writer):
        tasks.append(asyncio.current_task())
        requests = []
        heard.append(requests)
        while left:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.rpartition(b"content-length: ")[2])
            requests.append(head + await reader.readexactly(length))
            writer.write(left[0])
            if left.pop(0) != ANSWER:
                break
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        client = Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None, 0.2)
        try:
            yield client, heard
        finally:
            client.close()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_exchanges_one_after_the_other_share_a_connection():
    async with serving(ANSWER, ANSWER) as (client, heard):
        for body in (b"one", b""):
            status, content, headers = await client.exchange("POST", "/v1/x", {"a": "b"}, body)
            assert (status, content, headers["etag"]) == (201, b"{}", '"1"')
    [[first, second]] = heard
    assert first.startswith(b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:")
    assert first.endswith(b"\r\na: b\r\ncontent-length: 3\r\n\r\none")
    assert second.endswith(b"content-length: 0\r\n\r\n")


async def test_exchanges_at_once_have_a_connection_each():
    async with serving(ANSWER, ANSWER) as (client, heard):
        await asyncio.gather(*(client.exchange("POST", "/", {}, b"") for _ in range(2)))
        assert [len(requests) for requests in heard] == [1, 1]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\n\r\nendless",
    ],
    ids=["nothing", "half a head", "half a body", "no length"],
)
async def test_what_is_not_a_whole_answer_is_an_error_and_the_next_exchange_begins_anew(answer):
    async with serving(answer, ANSWER) as (client, _):
        with pytest.raises((OSError, EOFError)):
            await client.exchange("GET", "/", {}, b"")
        assert (await client.exchange("GET", "/", {}, b""))[0] == 201


async def test_an_answer_that_does_not_come_is_an_error():
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        client = Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None, 0.05)
        with pytest.raises((OSError, EOFError)):
            await client.exchange("GET", "/", {}, b"")


async def test_a_connection_that_the_server_closed_is_not_used_again():
    async with serving(ANSWER.replace(b"ETag: ", b"Connection: close\r\nETag: "), ANSWER) as (client, heard):
        for _ in range(2):
            assert (await client.exchange("GET", "/", {}, b""))[0] == 201
        assert [len(requests) for requests in heard] == [1, 1]
