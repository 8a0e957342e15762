"""One order, all the way, through the gateway of the running system."""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from infra.web import tls

PLACE = {
    "customer": "17850",
    "country": "United Kingdom",
    "placed_at": "2010-12-01T08:26:00Z",
    "currency": "GBP",
    "lines": [{"sku": "85123A", "description": "T-LIGHT HOLDER", "quantity": 6, "unit_price": "2.55"}],
}
HEADRACE = Path(sys.executable).with_name("headrace")


@pytest.fixture
async def client(system, token):
    address = system.status_json()["gateway_url"]
    trust = tls.client(system.settings("operator"), identified=False)
    bearer = {"authorization": f"Bearer {token()}", "content-type": "application/json"}
    async with aiohttp.ClientSession(address, headers=bearer, connector=aiohttp.TCPConnector(ssl=trust)) as client:
        yield client


@pytest.fixture
def number():
    return uuid4().hex[:12]


async def place(client, number, body=PLACE, **headers):
    return await client.post(f"/v1/orders/{number}/place", data=json.dumps(body), headers=headers)


async def see(client, path, placed):
    return await client.get(path, headers={"consistency-token": placed.headers["consistency-token"]})


def headrace(system, *arguments):
    call = [HEADRACE, *arguments]
    return subprocess.run(call, cwd=system.folder.parent, capture_output=True, text=True, timeout=60, check=False)


async def test_what_was_placed_is_read_back_at_once_with_its_token(client, number):
    placed = await place(client, number)
    assert (placed.status, placed.headers["etag"]) == (201, '"1"')
    answer = await see(client, f"/v1/orders/order-details/{number}", placed)
    row = await answer.json()
    assert (answer.status, row["status"], row["total"]) == (200, "placed", "15.30")
    assert float(answer.headers["data-age"]) < 60
    stale = await client.post(
        f"/v1/orders/{number}/cancel",
        data=json.dumps({"cancelled_at": "2010-12-02T08:00:00Z"}),
        headers={"if-match": '"7"'},
    )
    assert (stale.status, stale.content_type) == (412, "application/problem+json")


async def test_the_folded_state_is_the_row_of_the_details(system, client, number):
    placed = await place(client, number)
    answer = await see(client, f"/v1/orders/order-details/{number}", placed)
    state = headrace(system, "replay", f"orders-{number}", "--state", "--json")
    assert json.loads(state.stdout) == await answer.json()
    assert headrace(system, "replay", f"orders-{number}").stdout.startswith("   1  2010-12-01 08:26:00")


async def test_request_and_trace_go_all_the_way(system, client, number):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    given = {"x-request-id": f"r-{number}", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    placed = await place(client, number, **given)
    assert placed.headers["x-request-id"] == f"r-{number}"
    await see(client, f"/v1/orders/order-details/{number}", placed)
    events = await (await client.get(f"/v1/orders/{number}/events")).json()
    assert (events["events"][0]["request_id"], events["events"][0]["actor"]) == (f"r-{number}", "operator")
    tail = headrace(system, "topics", "tail", "orders.events.v1", "--limit", "20", "--json").stdout
    (record,) = [
        value
        for line in tail.splitlines()
        if (value := json.loads(json.loads(line)["value"]))["subject"] == f"orders-{number}"
    ]
    assert list(record)[:4] == ["type", "subject", "sequence", "time"]
    assert trace in record["traceparent"]
    for process in ("gateway", "orders-write"):
        assert f"r-{number}" in system.log_file(process).read_text()


async def test_pages_neither_skip_nor_repeat(client):
    customer = uuid4().hex[:12]
    numbers = sorted(f"{customer}{index:02}" for index in range(7))
    placed = [await place(client, number, {**PLACE, "customer": customer}) for number in numbers]
    found, cursor = [], ""
    for last in placed:
        await see(client, "/v1/orders/order-details?limit=1", last)
    while cursor is not None:
        page = await (await client.get(f"/v1/orders/order-details?customer={customer}&limit=3{cursor}")).json()
        found += [row["order"] for row in page["items"]]
        cursor = page["next"] and f"&cursor={page['next']}"
    assert found == numbers


@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        ("order-details?colour=red", 422, "invalid-parameter"),
        ("order-details?limit=0", 422, "invalid-parameter"),
        ("order-details?limit=501", 422, "invalid-parameter"),
        ("order-details?limit=1&limit=2", 422, "invalid-parameter"),
        ("order-details?status=flying", 422, "invalid-parameter"),
        ("order-details?customer=%00", 422, "invalid-parameter"),
        ("order-details?cursor=bm90aGluZw==", 400, "invalid-cursor"),
        ("order-details?cursor=%C3%A4", 400, "invalid-cursor"),
        ("order-details/nobody", 404, "unknown-key"),
        ("order-details/" + "x" * 300, 422, "invalid-key"),
        ("all-of-them", 404, None),
    ],
)
async def test_a_question_that_cannot_be_answered_is_a_problem(client, path, status, slug):
    answer = await client.get(f"/v1/orders/{path}")
    assert (answer.status, answer.content_type) == (status, "application/problem+json")
    assert slug is None or (await answer.json(content_type=None))["type"] == f"/problems/{slug}"


@pytest.mark.parametrize("given", ["nonsense", "", "eY_XHAFbIm9yZGVycyIsIm9yZGVycy01MzYzNjUiLDFe", "x" * 5000])
async def test_a_foreign_consistency_token_is_refused(client, given):
    answer = await client.get("/v1/orders/sales-by-country", headers={"consistency-token": given})
    assert (answer.status, answer.content_type) == (400, "application/problem+json")


async def visible(client, number):
    async with asyncio.timeout(30):
        while (await client.get(f"/v1/orders/order-details/{number}")).status == 404:
            continue
    return True


async def test_an_acknowledged_command_is_seen_within_the_bound_on_an_idle_system(client, summary):
    """A bound that only a broken system misses; the figures stand at the end of the run."""
    waits = []
    for _ in range(60):
        number = uuid4().hex[:12]
        placed = await place(client, number)
        acknowledged = time.perf_counter()
        assert await visible(client, number)
        waits.append(time.perf_counter() - acknowledged)
        assert placed.status == 201
    p50, worst = statistics.median(waits), max(waits)
    summary.append(
        f"acknowledged -> visible, idle, {len(waits)} orders: p50 {p50 * 1e3:.0f} ms, max {worst * 1e3:.0f} ms"
    )
    assert p50 < 5
