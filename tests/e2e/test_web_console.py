"""The web console of the running system, as people use it and as others would."""

import asyncio
import json
import re
from contextlib import asynccontextmanager
from html import unescape
from itertools import product
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from domains.orders import domain
from domains.plan import events_database
from eventstore.postgres import PostgresStore
from infra.pki import write
from infra.plan import CONSOLE, OPERATOR
from infra.postgres import conninfo
from infra.web import tls
from projections.parking import Spot, Waiting
from projections.plan import read_database
from projections.postgres import PostgresDatabase
from tests.browser import browsing, found
from tests.e2e.test_spine import place, see

PASSWORD = "a password of a person"
PEOPLE = {
    "watcher": ["console:read"],
    "carer": ["console:read", "console:write"],
    "stranger": ["orders:read"],
}
VIEW = domain.views[0]
PAGE = f"/projections/orders/{VIEW.name}"
EVIL = '<script>hacked=1</script><img src=x onerror="hacked=1">'
VERBS = f"/v2/orders/projections/{VIEW.name}"
FORM = {"content-type": "application/x-www-form-urlencoded"}
PATIENCE = 60


@pytest.fixture(scope="module")
def base(system):
    """Where the console is, and people who may use it."""
    file = system.credentials / "issuer" / "people.json"
    known = json.loads(file.read_text())
    known |= {name: {"password": PASSWORD, "scopes": scopes, "claims": {}} for name, scopes in PEOPLE.items()}
    write(file, json.dumps(known).encode())
    told = system.headrace("console", "--no-browser")
    assert told.returncode == 0, told.stderr
    return told.stdout.strip()


class Person:
    """A browser without scripts: cookies, forms, and no redirect that he does not see."""

    def __init__(self, session, base):
        self._session, self.base = session, base

    async def get(self, path, **more):
        return await self._ask("GET", path, **more)

    async def post(self, path, form, **headers):
        return await self._ask("POST", path, data=urlencode(form), headers=FORM | headers)

    async def _ask(self, method, path, **more):
        address = path if path.startswith("https:") else self.base + path
        async with self._session.request(method, address, allow_redirects=False, **more) as answer:
            await answer.read()
            return answer

    async def come_back(self, name, to="/"):
        """Logs in; the answer of the console to what the issuer has said."""
        sent = await self.get(to)
        if urlsplit(sent.headers["location"]).path == "/login":
            sent = await self.get(sent.headers["location"])
        login = sent.headers["location"]
        form = dict(parse_qsl(urlsplit(login).query)) | {"name": name, "password": PASSWORD}
        said = await self.post(login.partition("?")[0], form)
        return await self.get(said.headers["location"]) if said.status == 303 else said

    async def csrf(self):
        return re.search(r'name="csrf" value="([^"]+)"', await (await self.get("/")).text())[1]

    async def act(self, verb, form, **headers):
        return await self.post(f"{PAGE}/{verb}", {"csrf": await self.csrf(), "confirmed": "yes"} | form, **headers)

    @asynccontextmanager
    async def hears(self, path):
        """Waits for an event of that name which holds a text."""
        async with self._session.get(self.base + path) as answer:
            assert (answer.status, answer.content_type) == (200, "text/event-stream")

            async def until(name, text):
                kind, data = "", ""
                async with asyncio.timeout(PATIENCE):
                    async for line in answer.content:
                        field, _, told = line.decode().rstrip("\n").partition(": ")
                        kind, data = (
                            (told, "") if field == "event" else (kind, data + told if field == "data" else data)
                        )
                        if not field and kind == name and text in unescape(data):
                            return data
                raise AssertionError((name, text))

            yield until


@pytest.fixture
async def knock(system, base):
    """Somebody who comes to the console for the first time."""
    sessions = []

    def come():
        jar, trust = aiohttp.CookieJar(unsafe=True), tls.client(system.settings(OPERATOR), identified=False)
        sessions.append(aiohttp.ClientSession(cookie_jar=jar, connector=aiohttp.TCPConnector(ssl=trust)))
        return Person(sessions[-1], base)

    yield come
    for session in sessions:
        await session.close()


@pytest.fixture
async def carer(knock):
    person = knock()
    assert (await person.come_back("carer", "/login?act=yes")).status == 303
    return person


@pytest.fixture(scope="module")
def aside(system):
    """The orders that are set aside here. In the end all is as if they never had been, rows and records of it."""
    orders = []
    yield orders
    owner = conninfo(system.settings("orders-migrate"), read_database(domain))
    with psycopg.connect(owner) as connection:
        connection.execute("DELETE FROM parked WHERE name = ANY(%s)", [orders])
        connection.execute("DELETE FROM untold_skips")
        connection.execute("DELETE FROM skips WHERE name = ANY(%s)", [orders])
    placed = ("--type", "orders.OrderPlaced.v1", "--json")
    done = system.headrace("projection", "replay", f"orders/{VIEW.name}", *placed)
    assert done.returncode == 0, done.stderr
    assert system.headrace("projection", "verify", f"orders/{VIEW.name}").returncode == 0


@pytest.fixture
def park(system, aside):
    """Sets an order aside as a view does that can't fold it, and takes its row away."""

    async def work(order, error):
        aside.append(order)
        reader, operator = system.settings("orders-read"), system.settings(OPERATOR)
        async with PostgresStore.open(conninfo(operator, events_database(domain))) as store:
            [event] = await store.read_stream(domain.stream(order))
        database = PostgresDatabase(conninfo(reader, read_database(domain)), domain)
        async with database.transaction() as transaction:
            await transaction.save(VIEW, {order: None})
            await transaction.parking(VIEW).park([Waiting(Spot(order), event, error)])
        await database.close()

    return work


async def placed(client, order):
    await see(client, f"/v1/orders/{VIEW.name}/{order}", await place(client, order))


async def test_a_person_watches_retries_and_leaves_out(client, carer, system, park, number):
    first, second = f"{number}-1", f"{number}-2"
    for order in (first, second):
        await placed(client, order)
        await park(order, EVIL)
    page = await (await carer.get(PAGE)).text()
    assert first in page
    assert "<script>hacked" not in page
    async with carer.hears(f"{PAGE}/live") as until:
        await until("spots", first)
        asked = await (await carer.get(f"{PAGE}/retry?key={first}")).text()
        assert "&lt;script&gt;hacked" in asked
        done = await carer.act("retry", {"key": first})
        assert (done.status, done.headers["location"]) == (303, PAGE)
        assert "is no longer parked" in await (await carer.get(PAGE)).text()
        await until("rows", first)
        assert (await client.get(f"/v1/orders/{VIEW.name}/{first}")).status == 200
        asked = await (await carer.get(f"{PAGE}/skip?key={second}")).text()
        position = re.search(r'name="position" value="(\d+)"', asked)[1]
        confirmed = {"key": second, "why": "asked by phone"}
        for why in (" ", "a\0b"):
            assert (await carer.act("skip", confirmed | {"position": position, "why": why})).status == 422
        for unclear in ({}, {"position": "-1"}, {"position": "9" * 20}):
            assert (await carer.act("skip", confirmed | unclear)).status == 400
        assert (await carer.act("skip", confirmed | {"position": str(int(position) + 1)})).status == 404
        assert (await carer.act("skip", confirmed | {"position": position})).status == 303
        assert (await carer.act("retry", {"key": second})).status == 404
    told = json.loads(system.headrace("projection", "parked", "--history", "--json").stdout)
    assert [(one["who"], one["why"]) for one in told["skipped"] if one["key"] == second] == [
        ("carer", "asked by phone")
    ]


async def test_an_operator_does_the_same_at_the_gateways_other_port(client, system, park, token, number):
    await placed(client, number)
    await park(number, "an error")
    admin = system.status_json()["admin_url"]
    bearer = {"authorization": f"Bearer {token('orders:admin')}"}
    public = await client.post(f"{VERBS}/retry", json={"key": number})
    assert public.status == 404
    for body, status in (
        ({}, 422),
        ({"key": "a\0"}, 422),
        ({"key": "nothing"}, 404),
        ({"key": number}, 200),
        ({"key": number}, 404),
    ):
        answer = await client.post(f"{admin}{VERBS}/retry", headers=bearer, json=body)
        assert answer.status == status
    assert (await client.get(f"/v1/orders/{VIEW.name}/{number}")).status == 200
    refused = await client.post(f"{admin}{VERBS}/rebuild", headers=bearer, json={"view": "another"})
    assert (refused.status, (await refused.json())["errors"][0]["field"]) == (422, "view")


async def test_a_rebuild_is_begun_and_its_end_is_told(carer):
    async with carer.hears(f"{PAGE}/live") as until:
        assert (await carer.act("rebuild", {})).status == 303
        await until("rebuild", "Last rebuild")
    assert (await carer.get(f"{PAGE}/rebuild")).status == 200


async def test_streams_and_their_events_are_told_as_they_come(client, knock, number):
    person = knock()
    assert (await person.come_back("watcher", "/streams")).headers["location"] == "/streams"
    async with person.hears("/streams/live") as until:
        await place(client, number)
        await until("timeline", f"orders-{number}")
    page = await (await person.get(f"/streams?name=orders-{number}")).text()
    assert "orders.OrderPlaced.v1" in page
    assert "sealed:v1" not in page


@pytest.mark.parametrize("path", ["/", PAGE, "/streams", f"{PAGE}/retry?key=a", "/nowhere"])
async def test_nobody_sees_a_page_without_a_login(knock, path):
    answer = await knock().get(path)
    assert answer.status == 303
    assert answer.headers["location"] == f"/login?{urlencode({'to': path})}"


@pytest.mark.parametrize("path", ["/live", f"{PAGE}/live", "/streams/live"])
async def test_nobody_hears_anything_without_a_login(knock, path):
    assert (await knock().get(path)).status == 401


async def test_who_may_watch_may_not_act(client, knock, park, number):
    await placed(client, number)
    await park(number, "an error")
    person = knock()
    await person.come_back("watcher")
    page = await (await person.get(f"{PAGE}/retry?key={number}")).text()
    assert "Log in to act" in page
    assert (await person.act("retry", {"key": number})).status == 403
    assert (await person.act("rebuild", {})).status == 403
    assert (await knock().come_back("watcher", "/login?act=yes")).status == 400
    assert (await knock().come_back("stranger")).status == 400


async def test_a_form_from_elsewhere_or_unconfirmed_does_nothing(carer, knock):
    for form, headers in (
        ({"csrf": ""}, {}),
        ({"csrf": "x" * 43}, {}),
        ({}, {"origin": "https://127.0.0.1:1"}),
        ({}, {"sec-fetch-site": "cross-site"}),
    ):
        assert (await carer.act("rebuild", form, **headers)).status == 403
    assert (await carer.act("rebuild", {"confirmed": "no"})).status == 400
    assert (await carer.act("retry", {"key": "x" * 20_000})).status == 413
    assert (await knock().post(f"{PAGE}/rebuild", {"confirmed": "yes"})).status == 401


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/projections/orders/nothing", 404),
        ("/projections/<script>/x", 404),
        ("/projections/orders/nothing/live", 404),
        (f"{PAGE}/retry?key=nothing", 404),
        ("/streams?name=nothing-1", 404),
        ("/streams?name=orders-%00", 404),
        ("/streams?name=orders-", 404),
        ("/streams?name=orders-" + "x" * 280, 404),
        ("/streams?name=" + "orders-" * 200, 404),
        ("/streams?name=orders-1&before=-1", 422),
        ("/assets/../console.css", 404),
        ("/nowhere", 404),
    ],
)
async def test_what_is_not_there_is_said_on_a_page(carer, path, status):
    answer = await carer.get(path)
    assert (answer.status, answer.content_type) == (status, "text/html")
    assert "<script>/x" not in await answer.text()


async def test_pages_take_nothing_from_elsewhere(carer):
    answer = await carer.get("/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert " style=" not in await answer.text()
    assert (await carer.get("/", headers={"host": "evil.example"})).status == 421


async def test_a_login_is_finished_where_it_was_begun(knock):
    begun, other = knock(), knock()
    sent = await begun.get("/login")
    cookie = sent.headers["set-cookie"]
    assert all(part in cookie for part in ("__Host-", "Secure", "HttpOnly", "SameSite=Lax", "Path=/"))
    state = dict(parse_qsl(urlsplit(sent.headers["location"]).query))["state"]
    assert (await other.get(f"/callback?{urlencode({'state': state, 'code': 'c'})}")).status == 400
    assert (await begun.get("/callback?state=forged&code=c")).status == 400
    assert (await begun.get(f"/callback?{urlencode({'state': state, 'code': 'c'})}")).status == 401
    assert (await begun.get("/")).status == 303


async def test_who_logs_out_is_out(carer):
    assert (await carer.post("/logout", {"csrf": await carer.csrf()})).status == 200
    assert (await carer.get("/")).status == 303


async def test_the_console_itself_changes_nothing(system, token):
    own = system.settings(CONSOLE)
    for database, statement in (
        (read_database(domain), "DELETE FROM parked"),
        (read_database(domain), "UPDATE positions SET position = 0"),
        (events_database(domain), "DELETE FROM events"),
        (events_database(domain), "SELECT * FROM idempotency"),
    ):
        with psycopg.connect(conninfo(own, database)) as connection, pytest.raises(InsufficientPrivilege):
            connection.execute(statement)
    ports = {name: system.state.port(f"orders-{name}.api") for name in ("read", "rebuild")}
    asked = {"read": f"{VERBS}/retry", "rebuild": f"{VERBS}/rebuild"}
    for caller, refused in (
        (CONSOLE, ("console:read", "orders:admin", "")),
        ("gateway", ("console:write", "gateway:admin orders:all orders:write", "")),
    ):
        connector = aiohttp.TCPConnector(ssl=tls.client(system.settings(caller)))
        async with aiohttp.ClientSession(connector=connector) as session:
            for scopes, (side, port) in product(refused, ports.items()):
                bearer = {"authorization": f"Bearer {token(scopes)}"} if scopes else {}
                async with session.post(f"https://127.0.0.1:{port}{asked[side]}", headers=bearer, data="{}") as answer:
                    await answer.read()
                    assert answer.status == (403 if scopes else 401)


if found():

    @pytest.fixture
    async def page(system, tmp_path):
        certificates = [system.credentials / name / "cert.pem" for name in ("console", "issuer")]
        async with browsing(tmp_path, certificates) as page:
            yield page

    async def test_a_browser_shows_what_changes_and_runs_nothing_of_it(page, base, client, park, number):
        await placed(client, number)
        await park(number, EVIL)
        await page.go(base)
        await page.until("document.querySelector('input[name=password]')")
        await page.do("Input.insertText", text="watcher")
        await page.press("Tab")
        await page.do("Input.insertText", text=PASSWORD)
        await page.press("Enter", text="\r")
        await page.until("document.querySelector('.live')?.textContent === 'live'")
        await page.until("[...document.querySelectorAll('td.state')].some(cell => cell.textContent.includes('parked'))")
        assert await page.ask("document.querySelectorAll('td.behind svg polyline').length") >= len(domain.views)
        await page.press("Tab")
        assert await page.ask("document.activeElement.className") == "jump"
        await page.ask(f"document.querySelector('tbody a[href=\"{PAGE}\"]').focus()")
        await page.press("Enter", text="\r")
        await page.until(f"location.pathname === '{PAGE}' && document.body?.textContent.includes('{number}')")
        await placed(client, f"{number}-live")
        await page.until(f"document.querySelector('[sse-swap=rows]')?.textContent.includes('{number}-live')")
        grounds = []
        for scheme in ("light", "dark"):
            await page.scheme(scheme)
            grounds.append(await page.ask("getComputedStyle(document.body).backgroundColor"))
        assert len(set(grounds)) == 2
        await page.size(390, 844, phone=True)
        assert await page.ask("document.documentElement.scrollWidth <= innerWidth")
        assert await page.ask("typeof hacked") == "undefined"
        assert page.complaints == []
