"""A domain gets a second version of its addresses while everybody works: services first, then the gateways."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import pytest
from fastapi import Response

from domains.kernel import Version
from gateway.app import gateway
from gateway.instance import Limits
from infra.health import Health
from infra.web import application, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED = [
    ("GET", "/v1/letters/on-the-way/7"),
    ("POST", "/v1/letters/7/send"),
    ("GET", "/v1/parcels/on-the-way/7"),
    ("POST", "/v1/parcels/7/send"),
]
SCOPE = " ".join(f"{name}:{verb}" for name in ("letters", "parcels") for verb in ("read", "write"))
CLIENTS = range(6)
ENOUGH = 8
FAILED = 0
TWO = (Version(1, deprecated=datetime(2026, 11, 1, tzinfo=UTC)), Version(2))


class Service:
    """One side of a domain, which serves these versions of its addresses and counts what it is asked."""

    def __init__(self, settings, *versions):
        self.settings, self.answered = settings, 0
        self.app = application(settings.principal, settings, Health(), peers=frozenset({"gateway"}), body_limit=1024)
        for number in versions:
            self.app.add_route(f"/v{number}/{{path:path}}", self.answer, methods=["GET", "POST"])

    async def answer(self, request):
        await request.body()
        self.answered += 1
        return Response(b"{}", media_type="application/json")

    @property
    def address(self):
        return f"https://127.0.0.1:{self.settings.api_port}"

    @asynccontextmanager
    async def running(self):
        async with running(self.settings, self.app, Health()):
            yield self


class Load:
    """Clients that ask for everything, again and again, at the front door of the moment."""

    def __init__(self, world, front):
        self.world, self.front, self.headers = world, front, world.bearer(scope=SCOPE)
        self.answers, self.rounds = Counter(), Counter()

    @asynccontextmanager
    async def running(self):
        clients = [asyncio.create_task(self._ask(number)) for number in CLIENTS]
        yield
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    async def goes_on(self):
        """Returns when each client has asked often enough since, so that what it began before has ended."""
        enough = {number: self.rounds[number] + ENOUGH for number in CLIENTS}
        await self.world.until(lambda: all(self.rounds[number] >= many for number, many in enough.items()))

    async def _ask(self, number):
        while True:
            method, path = ASKED[(number + self.rounds[number]) % len(ASKED)]
            key = {"idempotency-key": f'"{number}-{self.rounds[number]}"'} if method == "POST" else {}
            body = {"json": {}} if method == "POST" else {}
            try:
                status = (await self.world.ask(method, path, at=self.front, headers=self.headers | key, **body)).status
            except aiohttp.ClientError:
                status = FAILED
            self.answers[path, status] += 1
            self.rounds[number] += 1


async def test_nobody_notices_that_a_service_is_replaced_by_one_with_a_second_version(world, settings_of, domains):
    sides = [(name, side) for name in ("letters", "parcels") for side in ("read", "write")]
    old = {(name, side): Service(settings_of(f"{name}-{side}"), 1) for name, side in sides}
    new = {("parcels", side): Service(settings_of(f"parcels-{side}"), 1, 2) for side in ("read", "write")}
    places = {name: {} for name, _ in sides}
    for name, side in sides:
        places[name][side] = tuple(one[name, side].address for one in (old, new) if (name, side) in one)
    letters = replace(domains["parcels"], name="letters", events={})

    def front(*versions):
        settings = settings_of("gateway", oidc_issuer=world.address, services=places)
        declared = {"letters": letters, "parcels": replace(domains["parcels"], versions=versions)}
        # The new service is in the list before it answers; how long one is then left in peace is tested elsewhere.
        app = gateway(settings, Health(), declared, Limits(failures=10_000))
        return f"https://127.0.0.1:{settings.api_port}", running(settings, app, Health())

    async with AsyncExitStack() as stack, AsyncExitStack() as leaving, AsyncExitStack() as left:
        for (name, _), service in old.items():
            await (left if name == "parcels" else stack).enter_async_context(service.running())
        before, door = front(Version(1))
        await leaving.enter_async_context(door)
        load = Load(world, before)
        async with load.running():
            await load.goes_on()
            for service in new.values():
                await stack.enter_async_context(service.running())
            await load.goes_on()
            await left.aclose()
            ended = [old["parcels", side].answered for side in ("read", "write")]
            await load.goes_on()
            after, door = front(*TWO)
            await stack.enter_async_context(door)
            load.front = after
            await load.goes_on()
            await leaving.aclose()
            await load.goes_on()
            answer = await world.ask("GET", "/v2/parcels/on-the-way/7", at=load.front, headers=load.headers)
    assert answer.status == 200
    assert {status for _, status in load.answers} == {200}
    assert {path for path, _ in load.answers} == {path for _, path in ASKED}
    assert min(ended) > 0
    assert ended == [old["parcels", side].answered for side in ("read", "write")]
    assert all(service.answered > ENOUGH for service in new.values())
