"""Real servers with real TLS, in this process: an issuer, the services of a small domain, and the gateway."""

import asyncio
import json
import re
import ssl
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio
import uvloop
from fastapi import Response
from joserfc import jwt
from yarl import URL

from domains.kernel import Command, Decider, Domain, Event, Row, View
from gateway.app import gateway
from gateway.instance import Limits
from infra.health import Health
from infra.native.ports import free_port
from infra.pki import Authority
from infra.settings import Settings
from infra.tokens import Issuer
from infra.web import application, running, tls
from tests.conftest import PROJECT
from tests.integration.gateway.issuers import SCOPES, Asking, Browser, Development, Realm
from tests.keycloak import Keycloak


def pytest_asyncio_loop_factories(config, item):  # noqa: ARG001  # the hook's own names
    """The services run on uvloop, so the tests do."""
    return {"uvloop": uvloop.new_event_loop}


class SendParcel(Command):
    parcel: str
    weight: int


class ParcelSent(Event):
    parcel: str
    weight: int


class Parcel(Row):
    """A parcel on its way."""

    parcel: str
    weight: int


PARCELS = Domain(
    name="parcels",
    identity="parcel",
    commands={"send": SendParcel},
    events={"parcels.ParcelSent.v1": ParcelSent},
    decider=Decider(None, lambda state, _: state, lambda _, __: []),
    views=(View("on-the-way", Parcel, "parcel", lambda event: event.parcel, lambda row, _: row, ("weight",)),),
    admin={"retry": "parcels:admin", "rebuild": "parcels:admin"},
)


@pytest.fixture(scope="session")
def domains():
    return {"parcels": PARCELS}


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def settings_of(authority, tmp_path_factory):
    """The settings of a principal, with credentials of the common authority and free ports."""
    folder = tmp_path_factory.mktemp("credentials")

    def make(principal, **more):
        authority.issue(folder / principal, principal)
        ports = {"api_port": free_port(), "health_port": free_port()}
        given = {"environment": "development", "drain_seconds": 5.0, **ports, **more}
        return Settings(principal=principal, credentials=folder / principal, **given)

    return make


@pytest.fixture(scope="session")
def foreign_settings(tmp_path_factory):
    """Credentials of the right names that another authority gave."""
    folder = tmp_path_factory.mktemp("foreign")
    other = Authority(folder / "authority")

    def make(principal):
        other.issue(folder / principal, principal)
        return Settings(principal=principal, credentials=folder / principal, environment="development")

    return make


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def problem(self):
        """The slug of the problem that this answer is."""
        assert self.headers["content-type"] == "application/problem+json"
        return json.loads(self.body)["type"].removeprefix("/problems/")


class Recorder:
    """A service that answers everything and remembers what reached it."""

    def __init__(self, settings):
        self.settings, self.seen, self.answers, self.health = settings, [], [], Health()
        self.app = application(
            settings.principal, settings, self.health, peers=frozenset({"gateway"}), body_limit=1 << 20
        )

        async def answer(request):
            body = await request.body()
            self.seen.append(
                (request.method, request.scope["raw_path"], request.scope["query_string"], request.headers, body)
            )
            return self.answers.pop(0) if self.answers else Response(b'{"ok":true}', media_type="application/json")

        self.app.add_route("/{path:path}", answer, methods=["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"])

    def running(self):
        return running(self.settings, self.app, self.health)

    def forget(self):
        self.seen.clear()
        self.answers.clear()


OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Scripted:
    """A service that speaks TLS, and then exactly the bytes that the test wants: one script for each request."""

    def __init__(self, settings):
        self.settings, self.identity = settings, settings
        self.forget()
        self.connections = 0
        self.open = set()

    def forget(self):
        self.requests, self.scripts = [], []

    @asynccontextmanager
    async def running(self):
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    async def start(self):
        context = tls.server(self.identity, ssl.CERT_REQUIRED)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.settings.api_port, ssl=context)

    async def stop(self):
        self._server.close()
        for writer in list(self.open):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self.connections += 1
        self.open.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                request = await whole_request(reader)
                self.requests.append(request)
                await self._play(self.scripts.pop(0) if self.scripts else (OK,), writer)
        self.open.discard(writer)
        writer.close()

    async def _play(self, script, writer):
        for part in script:
            if part == "abort":
                writer.transport.abort()
            elif part == "close":
                writer.close()
            elif isinstance(part, float):
                await asyncio.sleep(part)
            else:
                writer.write(part)
                await writer.drain()


async def whole_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


@pytest.fixture(scope="session")
def scripted():
    return Scripted


class World:
    """The whole chain, and the ways to use and misuse it."""

    def __init__(self, settings_of, write, read, issuer):
        self.issuer, address, self._bearers = issuer, issuer.address, {}
        self.write, self.read = write, read
        places = {"write": self.write.settings.api_port, "read": self.read.settings.api_port}
        services = {"parcels": {side: f"https://127.0.0.1:{port}" for side, port in places.items()}}
        self.settings = settings_of("gateway", oidc_issuer=address, services=services, admin_port=free_port())
        self.health, self.address = Health(), address

    @asynccontextmanager
    async def running(self, patience=1.0):
        """`patience`: seconds for which the gateway waits for a service."""
        kinds = ("connect", "answer", "stall", "queue", "crowd")
        waits = {f"{kind}_seconds": patience for kind in kinds}
        limits = Limits(streams=3, failures=1000, **waits)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.issuer.running())
            for service in (self.write, self.read):
                await stack.enter_async_context(service.running())
            self.app = gateway(self.settings, self.health, {"parcels": PARCELS}, limits)
            await stack.enter_async_context(running(self.settings, self.app, self.health))
            self.trust = tls.client(self.settings, identified=False)
            connector = aiohttp.TCPConnector(ssl=self.trust)
            self.client = await stack.enter_async_context(aiohttp.ClientSession(self.url, connector=connector))
            yield self

    @property
    def url(self):
        return f"https://127.0.0.1:{self.settings.api_port}"

    @property
    def admin_url(self):
        return f"https://127.0.0.1:{self.settings.admin_port}"

    @property
    def seen(self):
        return self.write.seen + self.read.seen

    @property
    def issuer_settings(self):
        return self.issuer.settings

    def key(self):
        return self.issuer.key()

    def claims(self, **other):
        now = int(time.time())
        given = {"iss": self.address, "aud": "headrace", "sub": "ann", "client_id": "ann", "jti": "1", "iat": now}
        return {**given, "exp": now + 60, "scope": " ".join(SCOPES), **other}

    def token(self, header=None, **claims):
        key, kid = self.key()
        given = {"alg": self.issuer.algorithm, "kid": kid, "typ": "at+jwt", **(header or {})}
        kept = {name: value for name, value in self.claims(**claims).items() if value is not None}
        return jwt.encode({name: value for name, value in given.items() if value}, kept, key, default_type=None)

    def bearer(self, **claims):
        """A good token; for some seconds the same one, so that the gateway comes to know it."""
        asked = (self.key()[1], int(time.time()) // 20, repr(sorted(claims.items())))
        if asked not in self._bearers:
            self._bearers[asked] = {"authorization": f"Bearer {self.token(**claims)}"}
        return self._bearers[asked]

    async def ask(self, method, path, at=None, **more):
        """A request with a good token, unless other headers are given; the address is sent byte for byte."""
        headers = {**self.bearer(), **more.pop("headers", {})}
        url = URL((at or self.url) + path, encoded=True)
        async with self.client.request(method, url, headers=headers, **more) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110  # the condition lies in what is tested
                await asyncio.sleep(0.005)

    async def raw(self, sent, port=None, context=None, until=None):
        """Sends bytes over TLS and returns everything that comes back."""
        return await exchange(port or self.settings.api_port, sent, context or self.trust, until)


async def exchange(port, sent, context, until=None):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        async with asyncio.timeout(10):
            writer.write(sent)
            return await (reader.readuntil(until) if until else reader.read())
    finally:
        writer.close()


@pytest.fixture(scope="session")
def keycloak(settings_of, tmp_path_factory):
    """Keycloak, once per run."""
    folder = tmp_path_factory.mktemp("keycloak")
    with Keycloak(PROJECT / ".headrace" / "cache", folder, settings_of("keycloak").credentials).running() as server:
        yield server


@pytest.fixture(scope="session")
def make_issuer(request, settings_of):
    """An issuer of the kind that the run is to be held against."""

    def make():
        if request.config.getoption("issuer") == "keycloak":
            return Realm(request.getfixturevalue("keycloak"))
        port = free_port()
        return Development(settings_of("issuer", api_port=port, oidc_issuer=f"https://127.0.0.1:{port}"))

    return make


@pytest.fixture(scope="session")
def make_world(settings_of, make_issuer):
    """The chain with these two services behind the gateway."""

    def make(service):
        sides = [service(settings_of(f"parcels-{side}")) for side in ("write", "read")]
        return World(settings_of, *sides, make_issuer())

    return make


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(make_world):
    async with make_world(Recorder).running() as running_world:
        yield running_world


@pytest.fixture
def issuer(world):
    return Asking(Issuer(world.address, world.settings.ca_file))


@pytest_asyncio.fixture(loop_scope="module")
async def browser(world):
    """Somebody who has not been here yet: he has no cookies."""
    jar = aiohttp.CookieJar(unsafe=True)  # the issuer has an address, not a name
    connector = aiohttp.TCPConnector(ssl=world.trust)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as client:
        yield Browser(client)


@pytest.fixture(autouse=True)
def forget(request):
    """Each test sees only what its own requests did."""
    if "world" in request.fixturenames:
        world = request.getfixturevalue("world")
        world.write.forget()
        world.read.forget()
