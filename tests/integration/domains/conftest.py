"""The orders as a whole, in this process: an issuer, the gateway, and both sides, with real TLS and a real database."""

import json
import ssl
import time
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import ECKey

from domains.handler import Handler
from domains.handler import Request as Asked
from domains.operations import Desk
from domains.orders import domain
from domains.orders.model import Order
from domains.orders.views import CountrySales, CustomerHistory
from domains.service import write_side
from eventstore.memory import MemoryStore
from eventstore.operations import MemoryOperations
from eventstore.personal.keys import MemoryKeys
from gateway.app import gateway
from infra.health import Health
from infra.native.ports import free_port
from infra.oidc import Verifier
from infra.pki import Authority
from infra.settings import Settings
from infra.web import application, running
from projections.postgres import PostgresDatabase
from projections.serving.live import Live
from projections.serving.past import Past
from projections.serving.service import Queries, read_side
from projections.serving.views import Views
from tests.conftest import empty_read_database

AT = "2010-12-01T08:26:00Z"
LINE = {"sku": "85123A", "quantity": 6, "unit_price": "2.55"}
STAFF = " ".join((*domain.every_scope, "streams:read"))
CUSTOMERS = STAFF.replace(domain.all_scope, "")


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
        claims = {
            "iss": self.issuer,
            "aud": "headrace",
            "sub": "u-1",
            "client_id": "shop",
            "jti": "1",
            "tenant": "leat",
        }
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
            views, health, keys = Views(self.reader, domain), Health(), MemoryKeys()
            await views.open()
            stack.push_async_callback(views.close)
            write, read = self.sides["write"], self.sides["read"]
            live = Live(read, domain, views, keys)
            stack.push_async_callback(live.close)
            queries = Queries(domain, views, Past(domain, self.store), live, keys)
            apps = (
                (
                    write,
                    write_side(domain, self.store, write, health, Verifier(write), keys=keys, desk=self.desk(keys)),
                ),
                (read, read_side(domain, queries, read, health, Verifier(read))),
                (self.settings, gateway(self.settings, Health(), {"orders": domain})),
            )
            for settings, app in apps:
                await stack.enter_async_context(running(settings, app, Health()))
            context = ssl.create_default_context(cafile=str(self.authority.file))
            context.load_cert_chain(self.settings.cert_file, self.settings.key_file)
            connector = aiohttp.TCPConnector(ssl=context)
            self.client = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            yield self

    def desk(self, keys):
        """Takes commands in that nobody carries out."""

        async def publish(*_):
            return None

        return Desk(domain, Handler(domain, self.store, keys=keys), MemoryOperations(), publish)

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

    async def ask(self, door, method, path, token, body=None, **headers):
        """Status, body and headers of the answer; `door` is `gateway` or `service`, which is asked as the gateway."""
        headers |= {"authorization": f"Bearer {token}"} if token else {}
        data = {"data": json.dumps(body), "headers": {**headers, "content-type": "application/json"}}
        more = data if method == "POST" else {"headers": headers}
        async with self.client.request(method, self.address(door, path), **more) as answer:
            return answer.status, await answer.read(), answer.headers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(floor, tmp_path_factory):
    async with System(tmp_path_factory.mktemp("system"), *empty_read_database(floor)).running() as system:
        await system.fill()
        yield system
