"""Commands that are sent again and again, over two gateways, to a real store: one effect, and one answer."""

import asyncio
import json
import os
from contextlib import AsyncExitStack
from dataclasses import replace

import aiohttp
import pytest
import pytest_asyncio

from domains.handler import Handler
from domains.operations import Desk
from domains.orders import domain as orders
from domains.service import write_side
from eventstore.operations import PostgresOperations
from eventstore.personal.keys import MemoryKeys
from eventstore.postgres import PostgresStore
from gateway.app import gateway
from infra.health import Health
from infra.oidc import Verifier
from infra.web import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

# For a long run: HEADRACE_REPEATED_COMMANDS=1000 HEADRACE_WRITERS=50 HEADRACE_ROUNDS=200.
COMMANDS = int(os.environ.get("HEADRACE_REPEATED_COMMANDS", "20"))
WRITERS = int(os.environ.get("HEADRACE_WRITERS", "10"))
ROUNDS = int(os.environ.get("HEADRACE_ROUNDS", "4"))
LINE = {"sku": "85123A", "description": "T-LIGHT HOLDER", "quantity": 6, "unit_price": "2.55"}
PLACE = {"customer": "17850", "placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE]}
RETURN = {"returned_at": "2010-12-02T08:26:00Z", "currency": "GBP", "lines": [{**LINE, "quantity": 1}]}
LATER = {"prefer": "respond-async", "idempotency-key": '"later"'}
SAME = ("etag", "location", "consistency-token", "content-type")


class Loop:
    """A topic whose records come back at once, unless they are held up."""

    def __init__(self):
        self.open, self.doing = asyncio.Event(), set()
        self.open.set()

    async def __call__(self, _key, value, _headers):
        self.doing.add(asyncio.create_task(self._comes_back(value)))

    async def _comes_back(self, value):
        await self.open.wait()
        await self.desk.do(value)

    async def idle(self):
        self.open.set()
        await asyncio.gather(*self.doing)
        if self.desk.operations._connection is not None:
            await self.desk.operations._connection.close()


class Doors:
    """Two gateways in front of one write side."""

    def __init__(self, world, store, fronts, client, topic):
        self.world, self.store, self.fronts, self.client, self.topic = world, store, fronts, client, topic

    async def look(self, path, subject="ann"):
        bearer = self.world.bearer(scope="orders:write", sub=subject, client_id=subject)
        async with self.client.get(f"https://127.0.0.1:{self.fronts[0].api_port}{path}", headers=bearer) as answer:
            return answer.status, answer.headers, json.loads(await answer.read())

    async def send(self, which, path, body=PLACE, subject="ann", **headers):
        bearer = self.world.bearer(scope="orders:write", sub=subject, client_id=subject)
        given = {"content-type": "application/json", **bearer, **headers}
        url = f"https://127.0.0.1:{self.fronts[which].api_port}/v1/orders/{path}"
        async with self.client.post(url, data=json.dumps(body), headers=given) as answer:
            kept = {name: answer.headers[name] for name in SAME if name in answer.headers}
            return answer.status, kept, await answer.read()


@pytest_asyncio.fixture(loop_scope="module")
async def doors(world, settings_of, postgres):
    careful = replace(orders, needs_version=frozenset({"cancel"}))
    behind = settings_of("orders-write", oidc_issuer=world.address)
    services = {"orders": {"write": f"https://127.0.0.1:{behind.api_port}"}}
    fronts = [settings_of("gateway", oidc_issuer=world.address, services=services) for _ in range(2)]
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(PostgresStore.open(postgres))
        health = Health()
        keys = MemoryKeys()
        desk = Desk(careful, Handler(careful, store, keys=keys), PostgresOperations(postgres), Loop())
        desk.publish.desk = desk
        stack.push_async_callback(desk.publish.idle)
        side = write_side(careful, store, behind, health, Verifier(behind), keys=keys, desk=desk)
        await stack.enter_async_context(running(behind, side, health))
        for front in fronts:
            app = gateway(front, Health(), {"orders": careful})
            await stack.enter_async_context(running(front, app, Health()))
        connector = aiohttp.TCPConnector(ssl=world.trust, limit=50)
        client = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield Doors(world, store, fronts, client, desk.publish)


async def test_a_command_sent_eight_times_has_one_effect_and_one_answer(doors):
    async def sent(number, times):
        key = {"idempotency-key": f'"key-{number}"'}
        return await asyncio.gather(*(doors.send(time % 2, f"{number}/place", **key) for time in range(times)))

    parallel = await asyncio.gather(*(sent(number, 5) for number in range(COMMANDS)))
    later = await asyncio.gather(*(sent(number, 3) for number in range(COMMANDS)))
    for first, again in zip(parallel, later, strict=True):
        assert [status for status, *_ in first] == [201] * 5
        assert all(answer == first[0] for answer in (*first, *again))
    assert await doors.store.head() == COMMANDS


async def test_of_many_who_saw_the_same_version_one_succeeds(doors):
    assert (await doors.send(0, "1/place", {**PLACE, "lines": [{**LINE, "quantity": ROUNDS}]}))[0] == 201
    for version in range(1, ROUNDS + 1):
        seen = {"if-match": f'"{version}"'}
        answers = await asyncio.gather(*(doors.send(one % 2, "1/return", RETURN, **seen) for one in range(WRITERS)))
        assert sorted(status for status, *_ in answers) == [201] + [412] * (WRITERS - 1)
    assert await doors.store.head() == ROUNDS + 1


async def test_of_many_who_demand_no_version_all_succeed(doors):
    assert (await doors.send(0, "1/place", {**PLACE, "lines": [{**LINE, "quantity": 100}]}))[0] == 201
    answers = await asyncio.gather(*(doors.send(one % 2, "1/return", RETURN) for one in range(100)))
    assert [status for status, *_ in answers] == [201] * 100
    assert await doors.store.head() == 101


async def test_a_key_belongs_to_who_sent_it(doors):
    key = {"idempotency-key": '"mine"'}
    ann = await doors.send(0, "1/place", **key)
    bob = await doors.send(1, "2/place", subject="bob", **key)
    assert (ann[0], bob[0]) == (201, 201)
    assert ann[1]["location"] != bob[1]["location"]
    status, _, body = await doors.send(1, "2/place", **key)
    assert (status, json.loads(body)["type"]) == (422, "/problems/idempotency-conflict")


async def test_a_key_that_is_no_quoted_string_is_refused(doors):
    for key in ("plain", '"', '""', '"a" "b"', '"ä"', '"' + "x" * 201 + '"'):
        status, _, body = await doors.send(0, "1/place", **{"idempotency-key": key})
        assert (status, json.loads(body)["type"]) == (400, "/problems/invalid-idempotency-key")


async def test_a_command_that_needs_a_version_says_so(doors):
    cancel = {"cancelled_at": "2010-12-02T00:00:00Z"}
    assert (await doors.send(0, "1/place"))[0] == 201
    status, _, body = await doors.send(0, "1/cancel", cancel)
    assert (status, json.loads(body)["type"]) == (428, "/problems/precondition-required")
    assert (await doors.send(0, "1/cancel", cancel, **{"if-match": '"1"'}))[0] == 201


async def test_an_answer_that_comes_later_is_found_where_it_was_said(doors):
    doors.topic.open.clear()
    (status, headers, _), again = [await doors.send(which, "1/place", **LATER) for which in (0, 1)]
    assert (status, again[:2]) == (202, (202, headers))
    place = headers["location"]
    assert place.startswith("/v1/operations/orders-")
    status, told, body = await doors.look(place)
    assert (status, told["retry-after"], body["status"]) == (200, "1", "accepted")
    doors.topic.open.set()
    await asyncio.gather(*doors.topic.doing)
    _, _, body = await doors.look(place)
    assert (body["status"], body["answer"]["status"], body["answer"]["headers"]["etag"]) == ("succeeded", 201, '"1"')
    assert await doors.store.head() == 1
    # At once or later: the key has one answer.
    _, now, _ = await doors.send(0, "1/place", **{"idempotency-key": LATER["idempotency-key"]})
    assert now["consistency-token"] == body["answer"]["headers"]["consistency-token"]
    for path, subject in ((place, "bob"), ("/v1/operations/orders-0", "ann"), ("/v1/operations/other-0", "ann")):
        assert (await doors.look(path, subject))[0] == 404


async def test_who_waits_for_it_gets_the_answer_itself(doors):
    waiting = {**LATER, "prefer": "respond-async, wait=10"}
    status, headers, _ = await doors.send(0, "1/place", **waiting)
    assert (status, headers["etag"]) == (201, '"1"')
    refused = {**waiting, "idempotency-key": '"other"', "if-match": '"7"'}
    status, _, body = await doors.send(0, "1/cancel", {"cancelled_at": "2010-12-02T00:00:00Z"}, **refused)
    assert (status, json.loads(body)["type"]) == (412, "/problems/precondition-failed")


async def test_without_a_key_there_is_no_later_and_what_is_no_command_is_refused_at_once(doors):
    status, headers, _ = await doors.send(0, "1/place", prefer="respond-async")
    assert (status, headers["etag"]) == (201, '"1"')
    assert (await doors.send(0, "2/place", {}, **LATER))[0] == 422
    assert await doors.store.head() == 1
