"""Live queries, the past, and why: through the gateway of the running system."""

import asyncio
import json
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import pytest

from domains.orders import domain
from infra.plan import OPERATOR
from infra.web import tls
from tests.e2e.test_spine import PLACE, place, see

NAME = f"order-details.v{domain.views[0].version}"
STREAM = "/v1/orders/order-details/stream"
CANCEL = {"cancelled_at": "2010-12-02T08:00:00Z"}
PATIENCE = 60


async def cancel(client, number):
    return await client.post(f"/v1/orders/{number}/cancel", data=json.dumps(CANCEL))


class Listener:
    """A client of a stream, as browsers have it."""

    def __init__(self, session):
        self._session, self.last = session, None

    @asynccontextmanager
    async def events(self, path):
        """The events of one connection, as they come: kind and data."""
        headers = {"last-event-id": self.last} if self.last else {}
        async with self._session.get(path, headers=headers) as answer:
            assert (answer.status, answer.content_type) == (200, "text/event-stream"), await answer.text()
            try:
                yield self._parsed(answer.content)
            finally:
                if answer.connection is not None and answer.connection.transport is not None:
                    answer.connection.transport.abort()  # a stream never ends, and nobody waits for its goodbye

    async def _parsed(self, content):
        block = {}
        async for line in content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                block[name] = value
                continue
            self.last = block.get("id", self.last)
            yield block.get("event"), json.loads(block["data"]) if "data" in block else None
            block = {}

    async def until(self, events, done):
        """The rows told until one of them is the last that is waited for."""
        found = []
        async with asyncio.timeout(PATIENCE):
            async for kind, data in events:
                if kind is not None:
                    found.append((kind, data["order"], data.get("status")))
                    if done(found):
                        return found
        raise AssertionError(found)

    async def begun(self, events):
        """Waits until the stream has told where it is."""
        async with asyncio.timeout(PATIENCE):
            async for _ in events:
                if self.last:
                    return


@pytest.fixture
async def listener(system, address, token):
    trust = tls.client(system.settings(OPERATOR), identified=False)
    connector, bearer = aiohttp.TCPConnector(ssl=trust, limit=0), {"authorization": f"Bearer {token()}"}
    patience = aiohttp.ClientTimeout(total=None, sock_read=PATIENCE)
    async with aiohttp.ClientSession(address, headers=bearer, connector=connector, timeout=patience) as session:
        yield Listener(session)


async def test_a_stream_goes_on_after_a_kill_of_the_read_side_without_gap_or_double(system, client, listener, number):
    orders = [f"{number}-{place}" for place in range(12)]
    async with listener.events(STREAM) as events:
        await listener.begun(events)
        for order in orders[:6]:
            await place(client, order)
        found = await listener.until(events, lambda found: len(found) == 6)
        system.kill("orders-read")
    for order in orders[6:]:
        await place(client, order)
    system.up()
    await cancel(client, orders[0])
    async with listener.events(STREAM) as events:
        found += await listener.until(events, lambda found: len(found) == 7)
    expected = [("row", order, "placed") for order in orders] + [("row", orders[0], "cancelled")]
    assert sorted(found) == sorted(expected)


async def test_a_filter_tells_what_enters_and_what_leaves(client, listener, number):
    country = f"Country {number}"
    placed = await place(client, number, PLACE | {"country": country})
    await see(client, f"/v1/orders/order-details/{number}", placed)
    async with listener.events(f"{STREAM}?status=placed&country={country}&snapshot=true") as events:
        found = await listener.until(events, lambda found: len(found) == 1)
        await listener.begun(events)
        await place(client, f"{number}-other", PLACE | {"country": "elsewhere"})
        await place(client, f"{number}-second", PLACE | {"country": country})
        await cancel(client, number)
        found += await listener.until(events, lambda found: len(found) == 2)
    expected = [("row", number, "placed"), ("row", f"{number}-second", "placed"), ("removed", number, None)]
    assert sorted(found, key=str) == sorted(expected, key=str)


@pytest.mark.parametrize(
    ("query", "headers", "status", "slug"),
    [
        ("", {"last-event-id": "x" * 20_000}, 400, "invalid-cursor"),
        ("", {"last-event-id": f"{NAME}.00000000.0.0.0.0"}, 410, "cursor-expired"),
        ("", {"last-event-id": f"{NAME}.{int(time.time()):08x}.{10**17}.0.0.0"}, 410, "cursor-expired"),
        ("", {"last-event-id": f"order-details.v99.{int(time.time()):08x}.0.0.0.0"}, 400, "invalid-cursor"),
        ("?since=7", {}, 422, "invalid-parameter"),
        ("?snapshot=maybe", {}, 422, "invalid-parameter"),
        ("?key=1&status=placed", {}, 422, "invalid-parameter"),
        ("?status=eaten", {}, 422, "invalid-parameter"),
    ],
)
async def test_a_stream_that_cannot_be_is_refused(client, query, headers, status, slug):
    answer = await client.get(STREAM + query, headers=headers)
    assert (answer.status, (await answer.json(content_type=None))["type"]) == (status, f"/problems/{slug}")


async def test_many_streams_hear_the_same_and_keep_nobody_waiting(client, listener, number):
    many = 40
    listeners = [Listener(listener._session) for _ in range(many)]
    heard = asyncio.Semaphore(0)

    async def listen(one):
        async with one.events(f"{STREAM}?key={number}") as events:
            await one.begun(events)
            heard.release()
            return await one.until(events, lambda found: len(found) == 1)

    async with asyncio.TaskGroup() as streams:
        tasks = [streams.create_task(listen(one)) for one in listeners]
        for _ in range(many):
            await heard.acquire()
        placed = await place(client, number)
        assert (await see(client, f"/v1/orders/order-details/{number}", placed)).status == 200
    assert [task.result() for task in tasks] == [[("row", number, "placed")]] * many


async def test_a_row_and_a_list_are_answered_as_they_were(client, number):
    customer = f"customer-{number}"
    placed = await place(client, number, PLACE | {"customer": customer})
    row, rows = f"/v1/orders/order-details/{number}", f"/v1/orders/customer-history/{customer}"
    before = [await (await see(client, path, placed)).text() for path in (row, rows)]
    listed = await (await client.get(f"/v1/orders/order-details?customer={customer}")).text()
    events = (await (await client.get(f"/v1/orders/{number}/events")).json())["events"]
    then = events[-1]["recorded_at"].replace("+00:00", "Z")
    cancelled = await cancel(client, number)
    assert await (await see(client, row, cancelled)).text() != before[0]
    assert [await (await client.get(f"{path}?as_of={then}")).text() for path in (row, rows)] == before
    answer = await client.get(f"/v1/orders/order-details?customer={customer}&as_of={then}")
    assert await answer.text() == listed
    assert int(answer.headers["data-position"]) == events[-1]["position"]
    assert 0 <= float(answer.headers["data-age"]) < PATIENCE
    gone = await client.get(f"{row}?as_of=2010-12-01T08:26:00Z")
    assert (gone.status, gone.headers["data-position"]) == (404, "0")


@pytest.mark.parametrize(
    "given",
    [
        "yesterday",
        "2010-12-01",
        "2010-12-01T08:26:00",
        "2010-13-01T08:26:00Z",
        "2010-12-01T08:26:00%2B99:00",
        "20101201T082600Z",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00%2B23:00",
        "",
        "1" * 10_000,
    ],
)
async def test_a_time_that_cannot_be_asked_about_is_refused(client, given):
    answer = await client.get(f"/v1/orders/order-details?as_of={given}")
    assert (answer.status, answer.content_type) == (422, "application/problem+json")


async def test_tokens_of_several_writes_and_domains_are_shown_at_once(client, number):
    tokens = [(await place(client, f"{number}-{one}")).headers["consistency-token"] for one in range(4)]
    opened = {"owner": "ann", "at": "2010-12-01T08:26:00Z"}
    account = await client.post(f"/v1/accounts/{number}/open", data=json.dumps(opened))
    tokens.append(account.headers["consistency-token"])
    for path in (f"orders/order-details/{number}-3", f"orders/order-details/{number}-0", f"accounts/account/{number}"):
        headers = {"consistency-token": ", ".join(tokens), "prefer": "wait=20"}
        answer = await client.get(f"/v1/{path}", headers=headers)
        assert (answer.status, answer.headers.get("preference-applied")) == (200, "wait=20"), await answer.text()
        assert "data-age" in answer.headers


async def test_why_names_the_event_that_set_a_column(system, client, number):
    asked = datetime.now(UTC)
    await place(client, number)
    done = await cancel(client, number)
    told = system.headrace("why", f"orders/order-details/{number}", "status", "--json")
    [cause] = json.loads(told.stdout)["columns"]
    appended = await done.json()
    expected = ("placed", "cancelled", appended["position"], 2, "orders.OrderCancelled.v1")
    assert (cause["before"], cause["after"], cause["position"], cause["version"], cause["type"]) == expected
    assert cause["metadata"]["request_id"] == done.headers["x-request-id"]
    events = await (await client.get(f"/v1/orders/{number}/events")).json()
    asked_by = f"cancel/{done.headers['x-request-id']}"
    assert (cause["command"], events["events"][1]["causation_id"]) == ("cancel", asked_by)
    assert datetime.fromisoformat(cause["recorded_at"]) > asked
    plain = system.headrace("why", f"orders/order-details/{number}")
    assert (plain.returncode, "orders.OrderPlaced.v1" in plain.stdout, "actor" in plain.stdout) == (0, True, True)
    codes = [
        system.headrace("why", *asked).returncode
        for asked in (
            [f"orders/order-details/{number}", "colour"],
            ["orders/order-details/nobody"],
            ["orders/x/1"],
            ["x"],
        )
    ]
    assert codes == [3, 3, 3, 2]
