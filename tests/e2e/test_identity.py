"""The whole system believes its issuer, whichever it is: machines act in their own name, people see what is theirs."""

import asyncio
import json
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from infra.plan import OPERATOR
from infra.web import tls
from tests.integration.gateway.issuers import CUSTOMER, Browser

HEADRACE = Path(sys.executable).with_name("headrace")
LINE = {"sku": "85123A", "quantity": 6, "unit_price": "2.55"}


def order(customer):
    return json.dumps({"customer": customer, "placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE]})


async def test_a_machine_orders_reads_it_back_and_gets_no_further(client, token, number):
    placed = await client.post(f"/v1/orders/{number}/place", data=order("1"))
    assert placed.status == 201
    seen = {"consistency-token": placed.headers["consistency-token"]}
    row = await client.get(f"/v1/orders/order-details/{number}", headers=seen)
    assert (row.status, (await row.json())["status"]) == (200, "placed")
    events = await (await client.get(f"/v1/orders/{number}/events")).json()
    assert [event["actor"] for event in events["events"]] == [OPERATOR]
    reader = {"authorization": f"Bearer {token('orders:read')}"}
    assert (await client.post(f"/v1/orders/{number}/cancel", data="{}", headers=reader)).status == 403
    assert (await client.get(f"/v1/orders/{number}/events", headers=reader)).status == 403
    assert (await client.get(f"/v1/orders/order-details/{number}", headers=reader)).status == 200


async def test_without_a_token_there_is_nothing(system, address):
    connector = aiohttp.TCPConnector(ssl=tls.client(system.settings(OPERATOR), identified=False))
    async with aiohttp.ClientSession(address, connector=connector) as stranger:
        for path in ("/v1/orders/order-details", "/v1/orders/1/events", "/v2/orders/order-details/1"):
            async with stranger.get(path) as answer:
                assert answer.status == 401
                assert answer.headers["www-authenticate"] == 'Bearer realm="headrace"'


async def test_a_person_logs_in_on_another_device_and_sees_what_is_hers(system, client, ann, number):
    for name, customer in ((f"{number}-1", CUSTOMER), (f"{number}-2", "1")):
        placed = await client.post(f"/v1/orders/{name}/place", data=order(customer))
        seen = {"consistency-token": placed.headers["consistency-token"]}
        assert (await client.get(f"/v1/orders/order-details/{name}", headers=seen)).status == 200
    try:
        assert await logged_in(system, ann) == 0
        own = await asyncio.to_thread(system.headrace, "call", "orders", "order-details", f"{number}-1")
        others = await asyncio.to_thread(system.headrace, "call", "orders", "order-details", f"{number}-2")
        assert (own.returncode, others.returncode, others.stdout) == (0, 3, "")
        assert json.loads(own.stdout)["customer"] == CUSTOMER
    finally:
        assert system.headrace("logout").returncode == 0


async def test_a_person_logs_in_to_the_console_in_her_own_browser(system, ann):
    told = system.headrace("console", "--no-browser")
    assert told.returncode == 0, told.stderr
    base = told.stdout.strip()
    async with a_device(system) as session:
        browser = Browser(session)
        _, back, _ = await browser.log_in(base, name=ann)
        assert back.startswith(f"{base}/callback?")
        status, _, page = await browser.open(back)
        assert (status, "order-details" in page) == (200, True)
    async with a_device(system) as session, session.get(back) as answer:
        assert answer.status == 400  # another browser has nothing of a code that it did not ask for


@asynccontextmanager
async def a_device(system):
    connector = aiohttp.TCPConnector(ssl=tls.client(system.settings(OPERATOR), identified=False))
    jar = aiohttp.CookieJar(unsafe=True)  # the issuer has an address, not a name
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
        yield session


async def logged_in(system, name):
    """Runs `headrace login --device` while somebody types the code in at another device."""
    child = await asyncio.create_subprocess_exec(
        *(HEADRACE, "login", "--device", "--scope", "orders:read"),
        cwd=system.folder.parent,
        env=system.environment,
        stderr=asyncio.subprocess.PIPE,
    )
    said = (await child.stderr.readline()).decode()
    (address,) = re.findall(r"or open (\S+)", said)
    async with a_device(system) as session:
        await Browser(session).approve(address, name=name)
    await child.communicate()
    return child.returncode
