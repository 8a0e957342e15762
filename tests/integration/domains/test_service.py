"""The write side over real mutual TLS, with tokens of a real issuer."""

import json
import ssl
import time
from contextlib import AsyncExitStack

import aiohttp
import pytest
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import ECKey

from domains.orders import domain
from domains.service import write_side
from eventstore.personal.keys import MemoryKeys
from eventstore.postgres import PostgresStore
from infra import consistency
from infra.health import Health
from infra.native.ports import free_port
from infra.oidc import Verifier
from infra.pki import Authority
from infra.settings import Settings
from infra.web import application, running

LINE = {"sku": "85123A", "description": "T-LIGHT HOLDER", "quantity": 6, "unit_price": "2.55"}
PLACE = {"customer": "17850", "placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE]}
SCOPES = "orders:write streams:read"


class Doors:
    """A running write side and the ways to knock at it."""

    def __init__(self, folder, issuer_port):
        self.authority, self.folder = Authority(folder / "authority"), folder
        self.keys = MemoryKeys()
        self.key, self.issuer = ECKey.generate_key("P-256", {"kid": "k1"}), f"https://127.0.0.1:{issuer_port}"
        self.settings = self.settings_of("orders-write", free_port())

    def settings_of(self, name, port):
        self.authority.issue(self.folder / name, name)
        return Settings(
            environment="development",
            principal=name,
            credentials=self.folder / name,
            api_port=port,
            health_port=free_port(),
            oidc_issuer=self.issuer,
        )

    def token(self, scope=SCOPES):
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": "headrace", "sub": "ann", "client_id": "ann", "scope": scope}
        header = {"alg": "ES256", "typ": "at+jwt", "kid": "k1"}
        return jwt.encode(header, {**claims, "iat": now, "exp": now + 60, "jti": "1"}, self.key)

    def issuer_app(self, settings):
        app = application("issuer", settings, Health(), peers=None, body_limit=1024)
        return self.documents(app)

    def documents(self, app: FastAPI):
        @app.get("/.well-known/openid-configuration")
        async def discovery() -> dict[str, str]:
            return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks"}

        @app.get("/jwks")
        async def jwks() -> dict[str, list[dict[str, str]]]:
            return {"keys": [{**self.key.as_dict(private=False), "alg": "ES256", "use": "sig"}]}

        return app

    def tls(self, name):
        context = ssl.create_default_context(cafile=str(self.authority.file))
        if name:
            self.authority.issue(self.folder / name, name)
            context.load_cert_chain(self.folder / name / "cert.pem", self.folder / name / "key.pem")
        return context

    async def call(self, method, path, body=None, name="gateway", scope=SCOPES, **headers):
        given = {"authorization": f"Bearer {self.token(scope)}", "content-type": "application/json", **headers}
        address = f"https://127.0.0.1:{self.settings.api_port}{path}"
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        async with (
            aiohttp.ClientSession() as client,
            client.request(method, address, data=data, headers=given, ssl=self.tls(name)) as answer,
        ):
            return answer.status, answer.headers, await answer.json(content_type=None)


@pytest.fixture
async def doors(postgres, tmp_path):
    issuer_port = free_port()
    doors = Doors(tmp_path, issuer_port)
    issuer = doors.settings_of("issuer", issuer_port)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(issuer, doors.issuer_app(issuer), Health()))
        store = await stack.enter_async_context(PostgresStore.open(postgres))
        health = Health()
        app = write_side(domain, store, doors.settings, health, Verifier(doors.settings), keys=doors.keys)
        await stack.enter_async_context(running(doors.settings, app, health))
        yield doors


async def test_a_command_is_recorded_and_answered_with_where_it_stands(doors):
    status, headers, body = await doors.call("POST", "/v1/orders/536365/place", PLACE)
    assert (status, headers["ETag"], body["version"]) == (201, '"1"', 1)
    token = consistency.decode(headers["Consistency-Token"])
    assert (token.domain, token.stream, token.position) == ("orders", "orders-536365", 1)
    status, headers, body = await doors.call("GET", headers["Location"])
    (event,) = body["events"]
    assert (status, headers["ETag"]) == (200, '"1"')
    assert (event["type"], event["actor"], event["data"]["total"]) == ("orders.OrderPlaced.v1", "ann", "15.30")


async def test_a_repeat_gets_the_refusal_of_the_first_whatever_has_happened_since(doors):
    cancel = {"cancelled_at": "2010-12-02T00:00:00Z"}
    once = {"idempotency-key": '"refused-once"'}
    status, _, first = await doors.call("POST", "/v1/orders/1/cancel", cancel, **once)
    assert (status, first["type"], first["code"]) == (409, "/problems/refused", "unknown-order")
    await doors.call("POST", "/v1/orders/1/place", PLACE)
    status, _, again = await doors.call("POST", "/v1/orders/1/cancel", cancel, **once)
    assert (status, {**again, "request_id": first["request_id"]}) == (409, first)
    status, _, problem = await doors.call("POST", "/v1/orders/1/place", PLACE, **once)
    assert (status, problem["type"]) == (422, "/problems/idempotency-conflict")
    assert (await doors.call("POST", "/v1/orders/1/cancel", cancel, **{"idempotency-key": '"anew"'}))[0] == 201


async def test_a_version_that_is_stale_is_refused(doors):
    await doors.call("POST", "/v1/orders/1/place", PLACE, **{"if-none-match": "*"})
    cancel = {"cancelled_at": "2010-12-02T00:00:00Z"}
    for malformed in ("1", "", " "):  # an empty condition is none that is met
        status, _, problem = await doors.call("POST", "/v1/orders/1/cancel", cancel, **{"if-match": malformed})
        assert (status, problem["type"]) == (400, "/problems/invalid-precondition")
    for tag in ('"2"', 'W/"1"', '"2", "3"', 'W/"1", "0", "x"', '"0"'):
        status, headers, problem = await doors.call("POST", "/v1/orders/1/cancel", cancel, **{"if-match": tag})
        assert (status, headers["Content-Type"]) == (412, "application/problem+json")
        assert problem["type"] == "/problems/precondition-failed"
        assert "(" not in problem["detail"]  # nothing of what is said inside
    status, _, problem = await doors.call("POST", "/v1/orders/1/place", PLACE, **{"if-none-match": "*"})
    assert (status, problem["detail"], problem["actual_version"]) == (412, "the stream is at version 1", 1)
    status, _, problem = await doors.call("POST", "/v1/orders/none/cancel", cancel, **{"if-match": '"1"'})
    assert (status, problem["detail"], problem["actual_version"]) == (412, "nothing was recorded under this id", 0)
    assert (await doors.call("POST", "/v1/orders/1/cancel", cancel, **{"if-match": '"1"'}))[0] == 201


@pytest.mark.parametrize("tags", ["*", ' "1"', '"3", "1"', '"x", W/"2","1"'])
async def test_any_tag_of_a_list_may_match_and_a_star_whatever_is_there(doors, tags):
    cancel, demand = {"cancelled_at": "2010-12-02T00:00:00Z"}, {"if-match": tags}
    status, _, problem = await doors.call("POST", "/v1/orders/4/cancel", cancel, **demand)
    assert (status, problem["type"]) == (412, "/problems/precondition-failed")
    await doors.call("POST", "/v1/orders/4/place", PLACE)
    assert (await doors.call("POST", "/v1/orders/4/cancel", cancel, **demand))[0] == 201


async def test_nobody_on_the_way_makes_another_of_the_tag_of_a_stream(doors):
    await doors.call("POST", "/v1/orders/5/place", PLACE)
    _, headers, _ = await doors.call("GET", "/v1/orders/5/events")
    assert (headers["ETag"], "no-transform" in headers["Cache-Control"]) == ('"1"', True)


async def test_a_repeat_with_the_same_key_has_one_effect(doors):
    key = {"idempotency-key": '"8e03"'}
    first = await doors.call("POST", "/v1/orders/2/place", PLACE, **key)
    again = await doors.call("POST", "/v1/orders/2/place", PLACE, **key)
    assert (first[0], first[2]) == (again[0], again[2])
    other = await doors.call("POST", "/v1/orders/3/place", PLACE, **key)
    assert (other[0], other[2]["type"]) == (422, "/problems/idempotency-conflict")


@pytest.mark.parametrize(
    ("path", "body", "status", "slug"),
    [
        ("/v1/orders/1/teleport", PLACE, 404, "unknown-command"),
        ("/v1/orders/1/place", b"{", 422, "invalid-command"),
        ("/v1/orders/1/place", {**PLACE, "discount": 1}, 422, "invalid-command"),
        ("/v1/orders/1/cancel", {"cancelled_at": "2010-12-02T00:00:00Z"}, 409, "refused"),
        ("/v1/orders/1/place", b"x" * 600_000, 413, None),
        ("/v1/orders/" + "a" * 300 + "/place", PLACE, 422, "invalid-command"),
        ("/v1/orders/%C3%A4/place", PLACE, 422, "invalid-command"),
    ],
)
async def test_what_cannot_be_done_is_a_problem(doors, path, body, status, slug):
    answered, headers, problem = await doors.call("POST", path, body)
    assert (answered, headers["Content-Type"]) == (status, "application/problem+json")
    assert slug is None or problem["type"] == f"/problems/{slug}"
    assert "Traceback" not in json.dumps(problem)


async def test_only_the_gateway_with_the_right_scope_comes_in(doors):
    assert (await doors.call("POST", "/v1/orders/4/place", PLACE, name="orders-read"))[0] == 403
    assert (await doors.call("POST", "/v1/orders/4/place", PLACE, scope="orders:read"))[0] == 403
    assert (await doors.call("POST", "/v1/orders/4/place", PLACE, authorization=""))[0] == 401
    assert (await doors.call("GET", "/v1/orders/4/events"))[0] == 404
    with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
        await doors.call("POST", "/v1/orders/4/place", PLACE, name=None)


async def test_what_a_stream_says_of_a_person_is_open_then_forgotten_and_a_lost_key_is_loud(doors):
    for number, customer in ((1, "ann"), (2, "bob")):
        body = {**PLACE, "customer": customer, "recipient": f"{customer} muster"}
        assert (await doors.call("POST", f"/v1/orders/{number}/place", body))[0] == 201

    async def said(number):
        status, _, body = await doors.call("GET", f"/v1/orders/{number}/events")
        return body["events"][0]["data"]["recipient"] if status == 200 else (status, body["type"])

    assert (await said(1), await said(2)) == ("ann muster", "bob muster")
    await doors.keys.forget("ann", "olga", "asked")
    assert (await said(1), await said(2)) == ("forgotten", "bob muster")
    doors.keys._keys.clear()
    assert await said(2) == (500, "/problems/key-missing")
