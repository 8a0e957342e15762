"""One question to several services: what comes in time is answered, and what does not is marked."""

import json
import re
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from fastapi import Response

from domains.kernel import Composition, Part, Version
from gateway.app import gateway
from gateway.instance import Limits
from infra import consistency
from infra.health import Health
from infra.web import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

OVERVIEW = Composition(
    "customers",
    "overview",
    (
        Part("parcel", "parcels", "on-the-way"),
        Part("letters", "letters", "sent", "customer"),
        Part("gone", "gone", "x"),
    ),
)
LETTERS = (Version(1, deprecated=datetime(2026, 11, 1, tzinfo=UTC)), Version(2))
SCOPE = "parcels:read letters:read"
ROW = {"content-type": "application/json", "data-age": "0.5"}


class Post:
    """A gateway in front of a service that records, and of one that says what the test wants."""

    def __init__(self, world, settings, letters):
        self.world, self.settings, self.letters = world, settings, letters

    async def ask(self, path="/v1/customers/a%20b/overview", scope=SCOPE, method="GET", **headers):
        given = {**self.world.bearer(scope=scope), **headers}
        url = f"https://127.0.0.1:{self.settings.api_port}{path}"
        async with self.world.client.request(method, url, headers=given) as answer:
            return answer, json.loads(await answer.read())

    async def states(self, **more):
        answer, body = await self.ask(**more)
        assert answer.status == 200
        return {name: part["status"] for name, part in body["parts"].items()}


@pytest_asyncio.fixture(loop_scope="module")
async def post(world, settings_of, domains, scripted):
    letters = scripted(settings_of("letters-read"))
    address = f"https://127.0.0.1:{letters.settings.api_port}"
    services = {**world.settings.services, "letters": {"read": (address,)}}
    front = settings_of("gateway", oidc_issuer=world.address, services=services)
    declared = {"parcels": replace(domains["parcels"], compositions=(OVERVIEW,))}
    declared["letters"] = replace(declared["parcels"], name="letters", events={}, compositions=(), versions=LETTERS)
    limits = Limits(connect_seconds=1.0, answer_seconds=1.0, failures=1000)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(letters.running())
        app = gateway(front, Health(), declared, limits)
        await stack.enter_async_context(running(front, app, Health()))
        yield Post(world, front, letters)


def found(body):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndata-age: 1.5\r\n"
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def refused(slug):
    body = b'{"type":"/problems/%s"}' % slug.encode()
    return b"HTTP/1.1 503 No\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


async def test_a_key_that_no_view_has_is_refused(post):
    answer, problem = await post.ask(path=f"/v1/customers/{'x' * 257}/overview")
    assert (answer.status, problem["type"]) == (422, "/problems/invalid-key")


@pytest.mark.parametrize("query", ["fields=history", "limit", "%00=1", "a=1&a=2"])
async def test_a_parameter_that_nothing_heeds_is_refused_and_nobody_asked(post, world, query):
    answer, problem = await post.ask(path=f"/v1/customers/1/overview?{query}")
    assert (answer.status, problem["type"]) == (422, "/problems/invalid-parameter")
    assert (world.read.seen, post.letters.requests) == ([], [])


async def test_the_parts_are_asked_at_once_with_the_callers_token_and_key(post, world):
    world.read.answers.append(Response(b'{"parcel":"a b"}', headers=ROW))
    post.letters.scripts.append((found(b'{"items":[],"next":null}'),))
    answer, body = await post.ask(prefer="wait=1", **{"x-request-id": "r-7"})
    assert body == {
        "key": "a b",
        "parts": {
            "parcel": {"status": "ok", "age": 0.5, "data": {"parcel": "a b"}},
            "letters": {"status": "ok", "age": 1.5, "data": {"items": [], "next": None}},
            "gone": {"status": "unavailable"},
        },
    }
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == (
        "application/json",
        "private, no-cache",
    )
    ((_, path, _, headers, _),) = world.read.seen
    assert (path, headers["x-request-id"]) == (b"/v1/parcels/on-the-way/a%20b", "r-7")
    assert headers["authorization"].startswith("Bearer ")
    assert int(headers["x-request-timeout-ms"]) == 1000
    assert post.letters.requests[0].startswith(b"GET /v1/letters/sent?customer=a%20b&limit=50 HTTP/1.1\r\n")


async def test_each_version_asks_for_its_own_forms_and_says_whether_it_goes(post, world):
    first, _ = await post.ask()
    second, _ = await post.ask("/v2/customers/a%20b/overview")
    successor = '</v2/customers/a%20b/overview>; rel="successor-version"'
    assert (first.headers["deprecation"], successor in first.headers["link"]) == ("@1793491200", True)
    assert "deprecation" not in second.headers
    # One of the two domains has no second version.
    assert [request[:8] for request in post.letters.requests] == [b"GET /v1/", b"GET /v2/"]
    assert [path for _, path, *_ in world.read.seen] == [b"/v1/parcels/on-the-way/a%20b"] * 2


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ((5.0, found(b"{}")), "late"),
        ((found(b"{}")[:-1], 5.0, b"}"), "late"),
        (("abort",), "unavailable"),
        ((b"nonsense\r\n\r\n",), "unavailable"),
        ((b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n",), "unavailable"),
        ((b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",), "missing"),
        ((b"HTTP/1.1 504 Too late\r\ncontent-length: 0\r\n\r\n",), "late"),
        ((refused("not-yet-consistent"),), "late"),
        ((refused("views-unavailable"),), "unavailable"),
        ((refused("temporary-reduced-capacity"),), "unavailable"),
        ((b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\n{}",), "unavailable"),
    ],
)
async def test_a_part_that_does_not_come_spoils_nothing(post, script, state):
    # A connection of the pool that breaks is asked again: both meet the same.
    post.letters.scripts += [script] * 2
    assert await post.states(prefer="wait=1") == {"parcel": "ok", "letters": state, "gone": "unavailable"}


async def test_a_part_that_the_token_does_not_allow_is_not_asked_for(post):
    assert (await post.states(scope="parcels:read"))["letters"] == "forbidden"
    assert post.letters.requests == []
    answer, body = await post.ask(scope="letters:read")
    assert (answer.status, body["type"]) == (403, "/problems/insufficient-scope")


async def test_a_consistency_token_goes_to_its_own_domain(post, world):
    token = consistency.encode("letters", "letters-1", 7)
    await post.ask(**{"consistency-token": token})
    assert f"consistency-token: {token}".encode() in post.letters.requests[0]
    assert "consistency-token" not in world.read.seen[0][3]
    answer, _ = await post.ask(**{"consistency-token": "nonsense"})
    assert answer.status == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/customers/1/overview", 405),
        ("GET", "/v1/customers/1/other", 404),
        ("GET", "/v1/customers/overview", 404),
        ("GET", "/v1/customers/%2f/overview", 400),
    ],
)
async def test_other_addresses_are_problems(post, method, path, status):
    answer, _ = await post.ask(path, method=method)
    assert answer.status == status


@pytest.mark.parametrize("known", ["W/", ""])
async def test_an_overview_that_is_known_is_not_sent_again_though_its_parts_grew_older(post, known):
    """Its bytes differ by then, so that its tag is weak, and compares as such."""
    row = Response(b'{"parcel":"a b"}', 200, ROW)
    post.world.read.answers += [row, Response(b'{"parcel":"a b"}', 200, {**ROW, "data-age": "0.9"})]
    post.world.read.answers.append(Response(b'{"parcel":"another"}', 200, ROW))
    post.letters.scripts += [(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",)] * 3
    answer, _ = await post.ask()
    tag = answer.headers["etag"]
    assert re.fullmatch('W/"[0-9a-f]{32}"', tag)
    url = f"https://127.0.0.1:{post.settings.api_port}/v1/customers/a%20b/overview"
    given = {**post.world.bearer(scope=SCOPE), "if-none-match": f'"x", {known}{tag.removeprefix("W/")}'}
    async with post.world.client.get(url, headers=given) as same:
        assert (same.status, same.headers["etag"], await same.read()) == (304, tag, b"")
    async with post.world.client.get(url, headers=given) as other:
        assert (other.status, other.headers["etag"] != tag) == (200, True)
