"""An issuer that is broken for a moment ends nobody's login."""

import asyncio
import json
import ssl
from contextlib import asynccontextmanager
from time import time

import pytest

from infra.errors import NotRunning
from infra.login import CLIENT, FILE, Login
from infra.oidc import Identity
from infra.pki import write
from infra.web import Problem, tls
from projections.console import login as of_the_console
from projections.console.sessions import Granted, Session


@asynccontextmanager
async def broken(settings):
    """Its discovery document is there, and anything else is answered by a proxy before it, in JSON."""
    address = f"https://127.0.0.1:{settings.api_port}"
    found = json.dumps({"issuer": address, "token_endpoint": f"{address}/token"}).encode()

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        status, body = ("200 OK", found) if head.startswith(b"GET") else ("503 Busy", b'{"title": "restarting"}')
        writer.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status.encode(), len(body)))
        writer.write(body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", settings.api_port, ssl=tls.server(settings, ssl.CERT_NONE))
    async with server:
        yield address


async def test_a_login_on_the_command_line_is_kept(settings_of, tmp_path):
    async with broken(settings := settings_of("issuer")) as address:
        kept = {"issuer": address, "client": CLIENT, "access_token": "a", "refresh_token": "r", "expires_at": 0}
        write(tmp_path / FILE, json.dumps(kept).encode())
        with pytest.raises(NotRunning):
            await asyncio.to_thread(Login(address, settings.ca_file, tmp_path).token)
    assert json.loads((tmp_path / FILE).read_text()) == kept


async def test_a_login_at_the_console_is_kept(settings_of):
    async with broken(settings_of("issuer")) as address:
        told = settings_of("console", oidc_issuer=address)
        session = Session(Granted(Identity("ann", address, frozenset(), time() - 1), "token", "refresh"))
        with pytest.raises(Problem) as refused:
            await of_the_console.Login(told, None, "https://127.0.0.1:1").renew(session)
    assert refused.value.status_code == 503
