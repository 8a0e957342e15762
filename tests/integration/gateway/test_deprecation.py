"""Every answer of a version that is to go says so, also one that no route was found for."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from domains.kernel import Version
from gateway.app import BODY_LIMIT, gateway
from infra.health import Health
from infra.web import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOES = Version(1, deprecated=datetime(2026, 11, 1, tzinfo=UTC), sunset=datetime(2028, 1, 1, tzinfo=UTC))
ORIGIN = "https://shop.example"
SEND = "/v1/parcels/7/send"
BODY = {"headers": {"content-type": "application/json"}, "data": b"{}"}
QUOTAS = {"read": (3, 60)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(world, settings_of, domains):
    """A gateway whose first version of everything goes; of the read side it knows nothing."""
    places = {"parcels": {"write": world.settings.services["parcels"]["write"]}}
    settings = settings_of("gateway", oidc_issuer=world.address, services=places, origins=(ORIGIN,), quotas=QUOTAS)
    declared = {"parcels": replace(domains["parcels"], versions=(GOES, Version(2)))}
    async with running(settings, gateway(settings, Health(), declared), Health()):
        yield f"https://127.0.0.1:{settings.api_port}"


TWICE = [("content-type", "application/json"), ("idempotency-key", '"1"'), ("idempotency-key", '"2"')]
ASKED = {
    "done": ("POST", SEND, BODY, 200),
    "no route": ("GET", "/v1/parcels/x/y/z", {}, 404),
    "the domain alone": ("GET", "/v1/parcels", {}, 404),
    "a domain in other letters": ("GET", "/v1/%70arcels/x/y/z", {}, 404),
    "no such path": ("GET", "/v1/parcels/%00", {}, 400),
    "DELETE": ("DELETE", "/v1/parcels/on-the-way", {}, 405),
    "PUT": ("PUT", SEND, {}, 405),
    "OPTIONS": ("OPTIONS", SEND, {}, 405),
    "TRACE": ("TRACE", SEND, {}, 405),
    "a preflight": (
        "OPTIONS",
        SEND,
        {"headers": {"origin": ORIGIN, "access-control-request-method": "POST"}},
        204,
    ),
    "no token": ("POST", SEND, {**BODY, "headers": {"authorization": ""}}, 401),
    "a body too large": ("POST", SEND, {**BODY, "data": b"x" * (BODY_LIMIT + 1)}, 413),
    "no JSON": ("POST", SEND, {"data": b"{}", "headers": {"content-type": "text/plain"}}, 415),
    "no service": ("GET", "/v1/parcels/on-the-way", {}, 503),
}


@pytest.mark.parametrize("asked", ASKED)
async def test_every_answer_of_a_version_that_goes_says_so(world, door, asked):
    method, path, more, status = ASKED[asked]
    answer = await world.ask(method, path, at=door, **more)
    assert answer.status == status
    says_so(answer, path)
    assert "ratelimit" in answer.headers or status == 204
    newer = await world.ask(method, path.replace("/v1/", "/v2/"), at=door, **more)
    assert newer.status == status
    assert {"deprecation", "sunset", "link"}.isdisjoint(name.lower() for name in newer.headers)


def says_so(answer, path):
    assert answer.headers["deprecation"] == "@1793491200"
    assert answer.headers["sunset"] == "Sat, 01 Jan 2028 00:00:00 GMT"
    assert f'<{path.replace("/v1/", "/v2/")}>; rel="successor-version"' in answer.headers["link"]


async def test_so_does_one_when_a_quota_is_used_up(world, door):
    bearer = world.bearer(sub="eager")
    answers = [await world.ask("GET", "/v1/parcels/on-the-way", at=door, headers=bearer) for _ in range(4)]
    assert answers[-1].status == 429
    says_so(answers[-1], "/v1/parcels/on-the-way")


async def test_two_keys_are_refused_by_their_name(world, door):
    headers = "".join(f"{name}: {value}\r\n" for name, value in (*TWICE, *world.bearer().items()))
    asked = f"POST {SEND} HTTP/1.1\r\nhost: x\r\n{headers}connection: close\r\ncontent-length: 2\r\n\r\n{{}}"
    answer = await world.raw(asked.encode(), port=int(door.rpartition(":")[2]))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"type":"/problems/invalid-idempotency-key"' in answer
    for name in (b"deprecation", b"sunset", b"link"):
        assert answer.count(b"\r\n%b: " % name) == 1


@pytest.mark.parametrize(
    ("broken", "status"), [("x: " + "y" * 40_000, b"431"), (" folded: no", b"400")], ids=["too large", "malformed"]
)
async def test_so_does_what_is_refused_at_its_head_and_in_its_turn(world, door, broken, status):
    asked = f"GET {SEND} HTTP/1.1\r\nhost: x\r\n{broken}\r\n\r\n"
    first = "GET /v1/parcels/x/y/z HTTP/1.1\r\nhost: x\r\n\r\n"
    answer = await world.raw((first + asked).encode(), port=int(door.rpartition(":")[2]))
    assert [one[:3] for one in answer.split(b"HTTP/1.1 ")[1:]] == [b"404", status]
    for name in (b"deprecation: @1793491200", b"sunset: ", b"link: ", b"strict-transport-security: "):
        assert answer.count(b"\r\n" + name) == 2


async def test_what_is_too_large_can_be_read_by_a_page(world, door):
    answer = await world.ask("POST", SEND, at=door, headers={"origin": ORIGIN}, data=b"x" * (BODY_LIMIT + 1))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (413, ORIGIN)
    assert answer.headers.getall("vary") == ["origin"]


async def test_what_is_too_large_is_counted(world, settings_of, domains):
    settings = settings_of("gateway", oidc_issuer=world.address, quotas={"stranger": (1, 60)})
    async with running(settings, gateway(settings, Health(), domains), Health()):
        at = f"https://127.0.0.1:{settings.api_port}"
        large = {**BODY, "data": b"x" * (BODY_LIMIT + 1)}
        assert [(await world.ask("POST", SEND, at=at, **large)).status for _ in range(2)] == [413, 429]
