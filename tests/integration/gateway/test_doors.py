"""Every port that listens: which TLS it speaks, whom it asks for a certificate, and that plaintext gets nothing."""

import asyncio
import ssl
from contextlib import suppress

import pytest

from infra.web import tls

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLAIN = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
DOORS = {
    "gateway": ("TLSv1.2", False),
    "gateway admin": ("TLSv1.2", False),
    "gateway health": ("TLSv1.2", False),
    "issuer": ("TLSv1.2", False),
    "issuer health": ("TLSv1.2", False),
    "write side": ("TLSv1.3", True),
    "write side health": ("TLSv1.2", False),
    "read side": ("TLSv1.3", True),
    "read side health": ("TLSv1.2", False),
}


@pytest.fixture
def ports(world):
    owners = {
        "gateway": world.settings,
        "issuer": world.issuer_settings,
        "write side": world.write.settings,
        "read side": world.read.settings,
    }
    apis = {name: settings.api_port for name, settings in owners.items()}
    apis["gateway admin"] = world.settings.admin_port
    return {**apis, **{f"{name} health": settings.health_port for name, settings in owners.items()}}


async def spoken(port, context):
    """The version of TLS that was agreed and the first bytes that came back, or None if we were turned away."""
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(PLAIN)
            version, heard = writer.get_extra_info("ssl_object").version(), await reader.read(5)
            writer.close()
    except (ssl.SSLError, ConnectionError):
        return None
    return version if heard == b"HTTP/" else None


@pytest.mark.parametrize("door", DOORS)
async def test_a_door_speaks_the_tls_that_it_should(ports, settings_of, door):
    oldest, asks = DOORS[door]
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        identified = tls.client(settings_of("gateway"))
        anonymous = tls.client(settings_of("gateway"), identified=False)
        for context in (identified, anonymous):
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.maximum_version = version
        assert await spoken(ports[door], identified) == (name if name >= oldest else None)
        assert await spoken(ports[door], anonymous) == (name if name >= oldest and not asks else None)


@pytest.mark.parametrize("door", DOORS)
async def test_plaintext_gets_nothing(ports, door):
    reader, writer = await asyncio.open_connection("127.0.0.1", ports[door])
    writer.write(PLAIN)
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            assert b"HTTP" not in await reader.read()
    writer.close()
