"""The port for operators: what a domain declares for them, what the gateway knows of itself, and nothing else."""

import json
import time

import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")

RETRY, REBUILD = (f"/v1/parcels/projections/on-the-way/{verb}" for verb in ("retry", "rebuild"))
BOTH = {"/openapi.json", "/problems/not-found"}
EVERY = "gateway:admin parcels:admin parcels:read parcels:write streams:read console:write"


@pytest_asyncio.fixture(loop_scope="module")
async def described(world):
    """Each operation of a port's document: its method, an address, and the scope that it needs."""

    async def read(url):
        answer = await world.ask("GET", "/openapi.json", at=url, headers={"authorization": ""})
        return [
            (method.upper(), path.format(id="7", key="7"), operation["security"][0]["token"][0])
            for path, methods in json.loads(answer.body)["paths"].items()
            for method, operation in methods.items()
        ]

    return read


def body_of(method):
    return {"json": {}} if method == "POST" else {}


async def test_each_address_is_shut_to_whoever_lacks_its_scope(world, described):
    operations = await described(world.admin_url)
    assert {path for _, path, _ in operations} == {"/routes", "/upstreams", "/quotas", RETRY, REBUILD}
    for method, path, scope in operations:
        others = " ".join(one for one in EVERY.split() if one != scope)
        for headers, status in (
            ({"authorization": ""}, 401),
            (world.bearer(scope=scope, exp=int(time.time()) - 60), 401),
            (world.bearer(scope=scope, tenant="another"), 401),
            (world.bearer(scope=others), 403),
        ):
            answer = await world.ask(method, path, at=world.admin_url, headers=headers, **body_of(method))
            assert answer.status == status, (method, path, status)
    assert world.seen == []


async def test_neither_port_serves_what_is_the_others(world, described):
    headers = world.bearer(scope=EVERY)
    for here, there in ((world.url, world.admin_url), (world.admin_url, world.url)):
        for method, path, _ in await described(here):
            answer = await world.ask(method, path, at=there, headers=headers, **body_of(method))
            assert answer.status == 404, (there, method, path)
    for path in ("/v1", "/docs", "/documents/openapi.json"):
        assert (await world.ask("GET", path, at=world.admin_url, headers=headers)).status == 404
    assert world.seen == []
    for path in BOTH:
        assert {(await world.ask("GET", path, at=url)).status for url in (world.url, world.admin_url)} == {200}


async def test_a_verb_reaches_the_service_with_the_token_that_it_checks_again(world):
    headers = world.bearer(scope="parcels:admin")
    answer = await world.ask("POST", RETRY, at=world.admin_url, headers=headers, json={"key": "7"})
    assert answer.status == 200
    assert answer.headers["ratelimit-policy"].startswith('"admin"')
    [(method, path, _, given, body)] = world.read.seen
    assert (method, path, json.loads(body)) == ("POST", RETRY.encode(), {"key": "7"})
    assert given["authorization"] == headers["authorization"]


@pytest.mark.parametrize(
    ("method", "path", "problem"),
    [
        ("POST", RETRY.replace("retry", "skip"), "not-found"),
        ("POST", RETRY.replace("on-the-way", "nothing"), "not-found"),
        ("POST", RETRY.replace("/v1", "/v2"), "not-found"),
        ("POST", "/v1/parcels/7/retry", "not-found"),
        ("GET", RETRY, "method-not-allowed"),
        ("POST", REBUILD, "service-unavailable"),
    ],
)
async def test_what_is_not_declared_or_has_no_service_is_a_problem(world, method, path, problem):
    answer = await world.ask(method, path, at=world.admin_url, headers=world.bearer(scope=EVERY), **body_of(method))
    assert answer.problem == problem
    assert world.seen == []


async def test_operators_see_routes_services_and_quotas(world, described):
    assert (await world.ask("GET", "/v1/parcels/on-the-way/7", headers=world.bearer(sub="ben"))).status == 200
    headers, told = world.bearer(scope="gateway:admin"), {}
    for name in ("routes", "upstreams", "quotas"):
        answer = await world.ask("GET", f"/{name}", at=world.admin_url, headers=headers)
        assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
        told |= json.loads(answer.body)
    for port, url in (("public", world.url), ("admin", world.admin_url)):
        found = {
            (one["method"], one["address"].format(id="7", key="7"), one["scope"])
            for one in told["routes"]
            if one["port"] == port
        }
        assert found == {one for one in await described(url) if one[0] != "HEAD" and one[1].startswith("/v1/")}
    services = {one["service"]: one for one in told["upstreams"]}
    place = f"https://127.0.0.1:{world.read.settings.api_port}"
    [instance] = services["parcels-read"]["instances"]
    assert (instance["address"], instance["state"], instance["requests"]) == (place, "well", 0)
    quotas = {one["kind"]: one for one in told["quotas"]}
    assert {"key": f"{world.address} ben", "used": 1} in quotas["read"]["most"]
