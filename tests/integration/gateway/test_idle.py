"""Connections that do nothing disturb nobody."""

import asyncio
import os
import resource

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

# For many: HEADRACE_IDLE_CONNECTIONS=10000.
WANTED = int(os.environ.get("HEADRACE_IDLE_CONNECTIONS", "300"))
AT_ONCE = 50
OTHER_FILES = 200
ADDRESSES = 8  # no client may have all connections
ASKED = b"GET /v1 HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture
def many():
    """As many as are wanted and possible: both ends of a connection are files of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield min(WANTED, (hard - OTHER_FILES) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def told(reader, writer):
    writer.write(ASKED)
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
    return int(head.split()[1])


async def test_beside_many_idle_connections_requests_are_answered(world, many):
    idle, slots = [], asyncio.Semaphore(AT_ONCE)

    async def join(number):
        async with slots:
            address = f"127.0.0.{1 + number % ADDRESSES}", 0
            one = await asyncio.open_connection(
                "127.0.0.1", world.settings.api_port, ssl=world.trust, local_addr=address
            )
            idle.append(one)
            assert await told(*one) == 200

    try:
        async with asyncio.timeout(30 + many / 50):
            await asyncio.gather(*(join(number) for number in range(many)))
        assert len(idle) == many
        found = await asyncio.gather(*(world.ask("GET", "/v1/parcels/on-the-way") for _ in range(20)))
        assert {answer.status for answer in found} == {200}
        assert not any(reader.at_eof() for reader, _ in idle)
        assert [await told(*one) for one in (idle[0], idle[-1])] == [200, 200]
    finally:
        for _, writer in idle:
            writer.transport.abort()
