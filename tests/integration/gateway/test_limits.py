"""Rate limits over several gateways that count together, each with its own door and mutual TLS to the others."""

import asyncio
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network

import aiohttp
import pytest

from gateway import peers
from gateway.app import gateway
from infra.health import Health
from infra.web import running, tls

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = "/v1/parcels/on-the-way"


class Gateways:
    """Several gateways in front of the world's services."""

    def __init__(self, world, settings_of, client, domains):
        self.world, self.settings_of, self.client, self.domains = world, settings_of, client, domains
        self.told, self.doors = [], []

    async def start(self, stack, count, proxies=(), **quotas):
        made = [self.settings_of("gateway") for _ in range(count)]
        peers = [f"https://127.0.0.1:{one.health_port}" for one in made]
        told = {
            "oidc_issuer": self.world.address,
            "services": self.world.settings.services,
            "peers": tuple(peers),
            "proxies": proxies,
        }
        given = {kind: tuple(map(int, quota.split("/"))) for kind, quota in quotas.items()}
        self.told = [one.model_copy(update={**told, "quotas": given}) for one in made]
        for settings in self.told:
            door = await stack.enter_async_context(AsyncExitStack())
            app = gateway(settings, Health(), self.domains)
            await door.enter_async_context(running(settings, app, Health()))
            self.doors.append(door)

    async def ask(self, which, path=PATH, **more):
        headers = {**self.world.bearer(**more.pop("claims", {})), **more.pop("headers", {})}
        url = f"https://127.0.0.1:{self.told[which].api_port}{path}"
        async with self.client.get(url, headers=headers, **more) as answer:
            await answer.read()
            return answer

    async def admitted(self, count, **more):
        """How many of so many requests to each gateway are let through, and the answers that were refused."""
        asked = [self.ask(which, **more) for which in range(len(self.told)) for _ in range(count)]
        answers = await asyncio.gather(*asked)
        assert {answer.status for answer in answers} <= {200, 429}
        refused = [answer for answer in answers if answer.status == 429]
        return len(answers) - len(refused), refused


@pytest.fixture
def gateways(world, settings_of, domains, monkeypatch):
    # All of them share one event loop here: an answer may take a busy machine longer than it takes processes.
    limits = replace(peers.LIMITS, connect_seconds=5.0, queue_seconds=5.0, answer_seconds=5.0)
    monkeypatch.setattr(peers, "LIMITS", limits)
    monkeypatch.setattr(peers, "ASK_SECONDS", 5.0)

    @asynccontextmanager
    async def make(count, **quotas):
        connector = aiohttp.TCPConnector(ssl=world.trust, limit=40)
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            made = Gateways(world, settings_of, client, domains)
            await made.start(stack, count, **quotas)
            yield made

    return make


@pytest.mark.parametrize("quota", [60, 600])
async def test_three_gateways_let_through_what_one_would(gateways, quota):
    async with gateways(3, read=f"{quota}/60") as doors:
        loop = asyncio.get_running_loop()
        began = loop.time()
        admitted, refused = await doors.admitted(quota // 2)
        refilled = quota / 60 * (loop.time() - began)
        assert quota * 0.99 <= admitted <= quota * 1.01 + refilled
        assert {answer.headers["ratelimit-policy"] for answer in refused} == {f'"read";q={quota};w=60'}
        other, _ = await doors.admitted(quota // 30, claims={"sub": "bob"})
        assert other == quota // 30 * 3


async def test_what_is_left_is_told_and_a_refusal_says_when(gateways):
    async with gateways(1, read="3/60") as doors:
        answers = [await doors.ask(0) for _ in range(4)]
        told = [answer.headers["ratelimit"] for answer in answers]
        assert [one.partition(";t=")[0] for one in told] == [f'"read";r={left}' for left in (2, 1, 0, 0)]
        refused = answers[3]
        assert refused.headers["content-type"] == "application/problem+json"
        wait, announced = int(refused.headers["retry-after"]), int(told[3].rpartition("=")[2])
        assert 55 <= announced <= wait <= 61


async def test_after_the_wait_a_request_succeeds(gateways, world):
    async with gateways(2, read="4/2") as doors:
        _, refused = await doors.admitted(4)
        waits = {int(answer.headers["retry-after"]) for answer in refused}
        assert max(waits) <= 3
        then = time.monotonic() + max(waits)
        await world.until(lambda: time.monotonic() >= then)
        assert [(await doors.ask(which)).status for which in (0, 1)] == [200, 200]


async def test_kinds_are_counted_apart_and_a_refused_request_reaches_no_service(gateways, world):
    async with gateways(1, read="1/60") as doors:
        assert [(await doors.ask(0)).status for _ in range(2)] == [200, 429]
        assert (await doors.ask(0, path="/v1/parcels/1/events")).status == 200
        assert len(world.seen) == 2


async def test_while_an_owner_is_away_each_has_its_share(gateways):
    async with gateways(3, read="9/60") as doors:
        await doors.doors.pop().aclose()
        doors.told.pop()
        people = [f"person {number}" for number in range(24)]
        found = [(await doors.admitted(9, claims={"sub": one}))[0] for one in people]
        # Keys whose owner is there are exact; for the others there are two shares of a third.
        assert set(found) == {9, 6}


async def test_of_its_share_goes_what_an_owner_gave_before_it_went_away(gateways):
    async with gateways(2, read="20/60") as doors:
        people = [f"person {number}" for number in range(12)]
        for one in people:
            assert {(await doors.ask(0, claims={"sub": one})).status for _ in range(18)} == {200}
        await doors.doors.pop().aclose()
        doors.told.pop()
        left = [(await doors.admitted(12, claims={"sub": one}))[0] for one in people]
        # Keys whose owner is there have two left; of a share of ten, eighteen are used.
        assert set(left) == {2, 0}


async def test_strangers_are_counted_by_address_and_do_not_hold_up_who_has_a_token(gateways):
    async with gateways(1, stranger="5/60") as doors:
        headers = {"authorization": "Bearer nonsense"}
        assert [(await doors.ask(0, headers=headers)).status for _ in range(7)] == [401] * 5 + [429] * 2
        assert (await doors.ask(0, path="/openapi.json")).status == 429
        assert (await doors.ask(0)).status == 200


@pytest.mark.parametrize(("proxies", "second"), [((), 429), ((ip_network("127.0.0.0/8"),), 401)])
async def test_who_a_stranger_is_says_a_proxy_that_is_configured_and_nobody_else(gateways, proxies, second):
    async with gateways(1, proxies=proxies, stranger="1/60") as doors:
        for address, status in (("192.0.2.1", 401), ("192.0.2.1", 429), ("192.0.2.2", second)):
            headers = {"authorization": "Bearer nonsense", "x-forwarded-for": f"evil, {address}"}
            assert (await doors.ask(0, headers=headers)).status == status


async def test_leases_are_for_gateways_only(gateways, settings_of, world):
    async with gateways(1) as doors:
        url = f"https://127.0.0.1:{doors.told[0].health_port}/limits"
        body = json.dumps({"kind": "read", "key": "x", "units": 1})
        for who, status in ((settings_of("gateway"), 200), (settings_of("orders-read"), 403), (None, 403)):
            context = tls.client(who) if who else world.trust
            async with doors.client.post(url, data=body, ssl=context) as answer:
                assert answer.status == status


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("nonsense", 422),
        ('{"kind": "read", "key": "x", "units": 0}', 422),
        ('{"kind": "read", "key": "x", "units": 1, "more": 1}', 422),
        ('{"kind": "other", "key": "x", "units": 1}', 404),
        ("x" * 5000, 413),
    ],
)
async def test_a_question_for_a_lease_must_make_sense(gateways, settings_of, body, status):
    async with gateways(1) as doors:
        url = f"https://127.0.0.1:{doors.told[0].health_port}/limits"
        async with doors.client.post(url, data=body, ssl=tls.client(settings_of("gateway"))) as answer:
            assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
