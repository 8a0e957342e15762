"""Connections are bounded, in all and of each address, and who is beyond costs nothing."""

import asyncio
import os
import resource
import socket
import ssl
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_network

import pytest
from prometheus_client import REGISTRY

from infra.health import Health
from infra.web import Bounds, application, running, tls

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED = b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n"
BOUNDS = Bounds(all=4, each=2)


@asynccontextmanager
async def serving(settings_of, **told):
    settings = settings_of("gateway", **told)
    app = application("bounded", settings, Health(), peers=None, body_limit=10)
    async with running(settings, app, Health(), BOUNDS):
        clients = Clients(settings)
        try:
            yield clients
        finally:
            for writer in clients.writers:
                writer.transport.abort()


class Clients:
    """Connections from any address of this machine. All of them end with the test."""

    def __init__(self, settings):
        self.settings, self.writers = settings, []
        self.trust = tls.client(settings, identified=False)

    async def come(self, host="127.0.0.1"):
        """Whether one more is taken."""
        port = self.settings.api_port
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=self.trust, local_addr=(host, 0))
                self.writers.append(writer)
                writer.write(ASKED)
                return (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            return False

    async def get_in(self, host="127.0.0.1"):
        """Returns when one more is taken."""
        async with asyncio.timeout(10):
            while not await self.come(host):
                pass

    async def leave(self, writer):
        writer.close()
        await writer.wait_closed()


def refused(bound):
    return REGISTRY.get_sample_value("http_server_connections_refused_total", {"bound": bound}) or 0


async def test_one_address_has_its_share_and_others_theirs(settings_of, caplog):
    before = refused("address"), refused("all")
    async with serving(settings_of) as clients:
        assert [await clients.come() for _ in range(4)] == [True, True, False, False]
        assert [await clients.come("127.0.0.2") for _ in range(3)] == [True, True, False]
        assert not await clients.come("127.0.0.3")
    assert (refused("address"), refused("all")) == (before[0] + 2, before[1] + 2)
    assert 1 <= sum(message.startswith("connections refused") for message in caplog.messages) <= 2


async def test_who_leaves_makes_room(settings_of):
    async with serving(settings_of) as clients:
        for _ in range(6):
            await clients.get_in()
            await clients.leave(clients.writers.pop())


async def test_a_handshake_that_fails_or_is_broken_off_makes_room(settings_of):
    async with serving(settings_of) as clients:
        port = clients.settings.api_port
        for sent in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b""):
            for _ in range(2):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(sent)
                await clients.leave(writer)
        await clients.get_in()


async def test_who_is_only_shaking_hands_counts(settings_of):
    async with serving(settings_of) as clients:
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", clients.settings.api_port)
            clients.writers.append(writer)
        assert not await clients.come()
        assert await clients.come("127.0.0.2")


async def test_a_proxy_brings_all_of_its_clients(settings_of):
    async with serving(settings_of, proxies=(ip_network("127.0.0.0/30"),)) as clients:
        assert [await clients.come() for _ in range(5)] == [True, True, True, True, False]


async def test_a_service_has_as_many_files_as_it_may(settings_of):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1024), hard))
    try:
        async with serving(settings_of):
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_when_files_run_out_who_comes_waits_and_is_served_then(settings_of, world, caplog):
    async with serving(settings_of) as clients:
        knocking = socket.create_connection(("127.0.0.1", clients.settings.api_port))
        with no_more_files():
            await world.until(lambda: "connections wait: Too many open files" in caplog.text)
        knocking.setblocking(False)
        told = {"ssl": clients.trust, "server_hostname": "127.0.0.1"}
        reader, writer = await asyncio.open_connection(sock=knocking, **told)
        clients.writers.append(writer)
        writer.write(ASKED)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")


@contextmanager
def no_more_files():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.dup(0)
    os.close(next_one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
