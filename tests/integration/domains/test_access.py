"""Who may do what: every address of the OpenAPI document, asked by everybody who must not get through.

Each address is asked at the gateway and at the service behind it, which trusts the gateway with nothing.
"""

import json
import socket
import ssl
import time
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from domains.handler import Handler
from domains.handler import Request as Asked
from domains.orders import domain
from domains.orders.model import Order
from domains.orders.views import CountrySales, CustomerHistory
from domains.service import write_side
from eventstore.memory import MemoryStore
from gateway.app import gateway
from gateway.openapi import document
from infra.health import Health
from infra.oidc import Verifier
from infra.pki import Authority
from infra.settings import Settings
from infra.web import application, running
from projections.postgres import PostgresDatabase
from projections.service import read_side
from projections.views import Views

AT = "2010-12-01T08:26:00Z"
LINE = {"sku": "85123A", "quantity": 6, "unit_price": "2.55"}
STAFF = " ".join((*domain.every_scope, "streams:read"))
CUSTOMERS = STAFF.replace(domain.all_scope, "")
DOCUMENT = document({"orders": domain})
ROUTES = [
    (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class System:
    """An issuer, the gateway, and both sides of the orders, with real TLS."""

    def __init__(self, folder, owner, reader):
        self.authority, self.folder = Authority(folder / "authority"), folder
        self.owner, self.reader = owner, reader
        self.key, self.issuer = ECKey.generate_key("P-256", {"kid": "k1"}), f"https://127.0.0.1:{free_port()}"
        self.sides = {side: self.settings_of(f"orders-{side}") for side in ("write", "read")}
        places = {side: f"https://127.0.0.1:{settings.api_port}" for side, settings in self.sides.items()}
        self.settings = self.settings_of("gateway", services={"orders": places})
        self.store = MemoryStore()

    def settings_of(self, name, port=None, **more):
        self.authority.issue(self.folder / name, name)
        ports = {"api_port": port or free_port(), "health_port": free_port()}
        given = {"environment": "development", "oidc_issuer": self.issuer, "tenant": "leat", **ports, **more}
        return Settings(principal=name, credentials=self.folder / name, **given)

    def token(self, scope=CUSTOMERS, **other):
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": "headrace", "sub": "u-1", "client_id": "shop", "tenant": "leat"}
        given = {**claims, "customer": "ann", "scope": scope, "iat": now, "exp": now + 60, **other}
        header = {"alg": "ES256", "typ": "at+jwt", "kid": "k1"}
        return jwt.encode(header, {name: value for name, value in given.items() if value is not None}, self.key)

    def documents(self, settings):
        app = application("issuer", settings, Health(), peers=None, body_limit=1024)
        public = {**self.key.as_dict(private=False), "alg": "ES256", "use": "sig"}
        app.get("/.well-known/openid-configuration")(lambda: {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks"})
        app.get("/jwks")(lambda: {"keys": [public]})
        return app

    @asynccontextmanager
    async def running(self):
        async with AsyncExitStack() as stack:
            issuer = self.settings_of("issuer", int(self.issuer.rpartition(":")[2]))
            await stack.enter_async_context(running(issuer, self.documents(issuer), Health()))
            views, health = Views(self.reader, domain), Health()
            await views.open()
            stack.push_async_callback(views.close)
            write, read = self.sides["write"], self.sides["read"]
            apps = (
                (write, write_side(domain, self.store, write, health, Verifier(write))),
                (read, read_side(domain, views, read, health, Verifier(read))),
                (self.settings, gateway(self.settings, Health(), {"orders": domain})),
            )
            for settings, app in apps:
                await stack.enter_async_context(running(settings, app, Health()))
            context = ssl.create_default_context(cafile=str(self.authority.file))
            context.load_cert_chain(self.settings.cert_file, self.settings.key_file)
            connector = aiohttp.TCPConnector(ssl=context)
            self.client = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            yield self

    async def fill(self):
        """One order of each customer, in the store and in the views."""
        handler, database = Handler(domain, self.store), PostgresDatabase(self.owner, domain)
        for customer in ("ann", "bob"):
            body = {"customer": customer, "placed_at": AT, "currency": "GBP", "lines": [LINE]}
            await handler.handle(Asked(f"{customer}-1", "place", json.dumps(body).encode()))
            details, sales, history = domain.views
            async with database.transaction() as rows:
                await rows.save(
                    details, {f"{customer}-1": Order(order=f"{customer}-1", status="placed", customer=customer)}
                )
                await rows.save(sales, {"Norway": CountrySales(country="Norway")})
                seen = CustomerHistory(customer=customer, first_seen_at=AT, last_seen_at=AT)
                await rows.save(history, {customer: seen})
        await database.close()

    def address(self, door, path):
        side = "read" if any(f"/{view.name}" in path for view in domain.views) else "write"
        settings = self.settings if door == "gateway" else self.sides[side]
        return f"https://127.0.0.1:{settings.api_port}{path}"

    async def ask(self, door, method, path, token, body=None):
        headers = {"authorization": f"Bearer {token}"} if token else {}
        data = {"data": json.dumps(body), "headers": {**headers, "content-type": "application/json"}}
        more = data if method == "POST" else {"headers": headers}
        async with self.client.request(method, self.address(door, path), **more) as answer:
            return answer.status, await answer.read()


@pytest.fixture
async def system(read_database, tmp_path):
    async with System(tmp_path, *read_database).running() as system:
        await system.fill()
        yield system


def placed(path, customer):
    """The address of what is this customer's own."""
    key = customer if "customer-history" in path else "Norway" if "sales" in path else f"{customer}-1"
    return path.replace("{id}", f"{customer}-1").replace("{key}", key)


def body_of(operation, **other):
    """The example that the document gives for a command."""
    if "requestBody" not in operation:
        return None
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    return {**DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]["examples"][0], **other}


def strangers(system, scope):
    """Everybody who must be turned away from an address, with the answers that do so."""
    others = " ".join({*STAFF.split()} - {scope})
    return {
        "nobody": (None, {401}),
        "expired": (system.token(STAFF, exp=int(time.time()) - 60), {401}),
        "another tenant": (system.token(STAFF, tenant="mill"), {401}),
        "no tenant": (system.token(STAFF, tenant=None), {401}),
        "the wrong scopes": (system.token(others), {403}),
        "another owner": (system.token(customer="bob"), {403, 404}),
        "an owner without a name": (system.token(customer=None), {403, 404}),
        "an owner of nothing": (system.token(customer=""), {403, 404}),
        "many owners": (system.token(customer=["ann", "bob"]), {403, 404}),
    }


def leaks(status, expected, content, operation):
    """Whether somebody got what is not his. A list may be shown to anybody who is bound, without what is another's."""
    shown = status == 200 and operation.get("x-owner") and 403 in expected and 404 in expected
    return b"ann" in content if shown else status not in expected


async def test_every_address_is_shut_to_everybody_who_must_not_get_through(system):
    asked, leaked = 0, []
    for method, path, operation in ROUTES:
        ((scope,),) = (one["token"] for one in operation["security"])
        for door in ("gateway", "service"):
            for who, (token, expected) in strangers(system, scope).items():
                asked += 1
                answer = await system.ask(door, method, placed(path, "ann"), token, body_of(operation))
                if leaks(*(answer[0], expected, answer[1]), operation):
                    leaked.append((door, method, path, who, answer))
    assert leaked == []
    assert asked == len(ROUTES) * 2 * 9 >= 180
    assert len(await system.store.read_log()) == 2


async def test_owners_get_their_own_and_staff_gets_all(system):
    for method, path, operation in ROUTES:
        if method == "GET":
            own = (await system.ask("gateway", method, placed(path, "ann"), system.token()))[0]
            assert own == (200 if "x-owner" in operation else 403), path
            assert (await system.ask("gateway", method, placed(path, "ann"), system.token(STAFF)))[0] == 200
    cancel = {"cancelled_at": AT}
    assert (await system.ask("gateway", "POST", "/v1/orders/ann-1/cancel", system.token(), cancel))[0] == 201
    machine = system.token(sub="shop", customer=None)
    assert (await system.ask("gateway", "POST", "/v1/orders/bob-1/cancel", machine, cancel))[0] == 201


async def test_a_list_holds_what_is_ones_own_and_a_filter_cannot_widen_it(system):
    items = json.loads((await system.ask("gateway", "GET", "/v1/orders/order-details", system.token()))[1])["items"]
    assert [row["order"] for row in items] == ["ann-1"]
    foreign = await system.ask("gateway", "GET", "/v1/orders/order-details?customer=bob", system.token())
    assert foreign[0] == 403
    everything = await system.ask("gateway", "GET", "/v1/orders/order-details", system.token(STAFF))
    assert len(json.loads(everything[1])["items"]) == 2


@pytest.mark.parametrize(
    ("order", "customer", "status"),
    [("ann-2", "ann", 201), ("ann-2", "bob", 403), ("ann-2", None, 403), ("bob-1", "ann", 403), ("bob-1", "bob", 403)],
)
async def test_an_order_is_placed_in_ones_own_name_only(system, order, customer, status):
    body = {"customer": customer, "placed_at": AT, "currency": "GBP", "lines": [LINE]}
    answer = await system.ask("gateway", "POST", f"/v1/orders/{order}/place", system.token(), body)
    assert answer[0] == status
