"""Every error that a client can meet is a problem whose type leads to a page; and what browsers are told."""

import asyncio
import json

import pytest
import pytest_asyncio
from fastapi import Response
from fastapi.responses import StreamingResponse

from gateway.app import gateway
from gateway.passing import ANSWER_HEADERS
from infra.health import Health
from infra.web import running
from infra.web.catalogue import PROBLEMS
from infra.web.protocol import HEAD_LIMIT

pytestmark = pytest.mark.asyncio(loop_scope="module")
ORIGIN = "https://shop.example"
VIEW = "/v1/parcels/on-the-way"
JSON = {"content-type": "application/json"}


async def test_every_problem_has_its_page(world):
    for slug, kind in PROBLEMS.items():
        async with world.client.get(f"/problems/{slug}") as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
            assert f"<title>{kind.title}</title>" in await answer.text()
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


REFUSED = {
    400: b"GET /v1/parcels/%00 HTTP/1.1\r\nhost: x\r\n",
    401: b"GET /v1/parcels/on-the-way HTTP/1.1\r\nhost: x\r\n",
    404: b"GET /v1/nowhere HTTP/1.1\r\nhost: x\r\n",
    405: b"DELETE /v1/parcels/on-the-way HTTP/1.1\r\nhost: x\r\n",
    413: b"POST /v1/parcels/1/send HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n",
    431: b"GET / HTTP/1.1\r\nhost: x\r\nx-large: " + b"x" * HEAD_LIMIT + b"\r\n",
}


@pytest.mark.parametrize("status", REFUSED)
async def test_what_is_refused_is_a_problem_with_an_id(world, status):
    answer = await world.raw(REFUSED[status] + b"connection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert int(head.split()[1]) == problem["status"] == status
    assert b"content-type: application/problem+json" in head
    assert problem["type"].removeprefix("/problems/") in PROBLEMS
    assert f"x-request-id: {problem['request_id']}".encode() in head


@pytest.mark.parametrize("path", ["/", "/nowhere", "/problems/nothing", "/v1/", "/openapi.yaml"])
async def test_pages_that_are_not_there_are_problems(world, path):
    async with world.client.get(path) as answer:
        assert (answer.status, answer.content_type) == (404, "application/problem+json")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"])
async def test_other_methods_are_not_known(world, method):
    answer = await world.ask(method, "/openapi.json")
    assert (answer.status, answer.problem) == (405, "method-not-allowed")


# What browsers are told.


async def test_no_other_origin_may_ask(world):
    preflight = {"origin": ORIGIN, "access-control-request-method": "POST"}
    answer = await world.ask("OPTIONS", "/v1/parcels/1/send", headers=preflight)
    assert answer.status == 405
    answer = await world.ask("GET", VIEW, headers={"origin": ORIGIN})
    assert [name for name in answer.headers if name.lower().startswith("access-control")] == []


@pytest_asyncio.fixture(loop_scope="module")
async def open_door(world, settings_of, domains):
    told = {"oidc_issuer": world.address, "services": world.settings.services, "origins": (ORIGIN,)}
    settings = settings_of("gateway", **told)
    async with running(settings, gateway(settings, Health(), domains), Health()):
        yield f"https://127.0.0.1:{settings.api_port}"


async def test_a_configured_origin_may_ask_and_sees_problems_too(world, open_door):
    preflight = {"origin": ORIGIN, "access-control-request-method": "POST"}
    async with world.client.options(f"{open_door}/v1/parcels/1/send", headers=preflight) as answer:
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, ORIGIN)
        assert "idempotency-key" in answer.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in answer.headers
    for headers, status in (({"origin": ORIGIN}, 401), ({"origin": ORIGIN, **world.bearer()}, 200)):
        async with world.client.get(f"{open_door}{VIEW}", headers=headers) as answer:
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, ORIGIN)
            assert "ratelimit" in answer.headers
            exposed = {*answer.headers["access-control-expose-headers"].split(", ")}
            assert {"deprecation", "sunset", "ratelimit", "x-request-id"} <= exposed
            # Browsers show these anyhow, or use them themselves.
            assert {name.decode() for name in ANSWER_HEADERS} - exposed == {"cache-control", "content-type", "vary"}


async def test_who_names_no_origin_is_told_that_it_matters(world, open_door):
    for _ in range(3):
        answer = await world.ask("GET", VIEW, at=open_door)
        assert (answer.status, answer.headers.getall("vary")) == (200, ["accept-encoding", "origin"])


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{ORIGIN}.evil.example", "http://shop.example"])
async def test_others_may_not(world, open_door, origin):
    preflight = {"origin": origin, "access-control-request-method": "POST"}
    async with world.client.options(f"{open_door}/v1/parcels/1/send", headers=preflight) as answer:
        assert answer.status == 405
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "origin"


# What is packed.


async def test_a_large_answer_is_packed_for_who_takes_it(world):
    large = b"[" + b",".join(b'{"parcel":"%d"}' % number for number in range(500)) + b"]"
    for accepted, encoding, tag in (("gzip", "gzip", 'W/"1"'), ("identity", None, '"1"')):
        world.read.answers.append(Response(large, headers={"etag": '"1"'}, media_type="application/json"))
        answer = await world.ask("GET", VIEW, headers={"accept-encoding": accepted})
        assert (answer.headers.get("content-encoding"), answer.headers["etag"]) == (encoding, tag)
        assert (answer.body, answer.headers["vary"]) == (large, "accept-encoding")
        assert (int(answer.headers["content-length"]) < len(large) / 3) == (encoding is not None)


@pytest.mark.parametrize("length", [True, False], ids=["with a length", "without one"])
async def test_an_answer_that_comes_in_parts_is_packed_like_one_that_comes_at_once(world, length):
    large = b"[" + b",".join(b'{"parcel":"%d"}' % number for number in range(20_000)) + b"]"
    told = {"etag": '"1"', **({"content-length": str(len(large))} if length else {})}

    async def parts():
        for begin in range(0, len(large), 50_000):
            yield large[begin : begin + 50_000]
            await asyncio.sleep(0)

    world.read.answers.append(StreamingResponse(parts(), headers=told, media_type="application/json"))
    answer = await world.ask("GET", VIEW, headers={"accept-encoding": "gzip"})
    assert (answer.headers["content-encoding"], answer.headers["etag"]) == ("gzip", 'W/"1"')
    assert (answer.body, "content-length" in answer.headers) == (large, False)
    world.read.answers.append(StreamingResponse(parts(), headers=told, media_type="application/json"))
    answer = await world.ask("GET", VIEW, headers={"accept-encoding": "identity"})
    assert ("content-encoding" in answer.headers, answer.headers["etag"], answer.body) == (False, '"1"', large)


async def test_the_tag_is_the_same_with_304(world):
    for accepted, tag in (("gzip", 'W/"1"'), ("identity", '"1"')):
        for status, body in ((200, b"[]"), (304, b"")):
            world.read.answers.append(Response(body, status, headers={"etag": '"1"'}, media_type="application/json"))
            answer = await world.ask("GET", VIEW, headers={"accept-encoding": accepted})
            assert (answer.status, answer.headers["etag"]) == (status, tag)
            assert "content-encoding" not in answer.headers
