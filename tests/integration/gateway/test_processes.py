"""The gateway and the issuer as processes: how they start, refuse to start, and stop."""

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager

import aiohttp
import pytest

from infra.web import tls

pytestmark = pytest.mark.asyncio(loop_scope="module")


def told(settings, **more):
    """The environment of a process with these settings."""
    given = {
        "environment": settings.environment,
        "principal": settings.principal,
        "credentials": settings.credentials,
        "api_port": settings.api_port,
        "health_port": settings.health_port,
        "oidc_issuer": settings.oidc_issuer,
        "services": json.dumps({name: dict(sides) for name, sides in settings.services.items()}),
        **more,
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return {**kept, **{f"HEADRACE_{name.upper()}": str(value) for name, value in given.items() if value is not None}}


@asynccontextmanager
async def process(module, environment, spoken=asyncio.subprocess.PIPE):
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=spoken,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def ended(module, environment):
    async with process(module, environment) as child:
        async with asyncio.timeout(30):
            out, err = await child.communicate()
        return child.returncode, out.decode(), err.decode()


async def ready(settings, expected=200):
    """Waits until readiness answers so; returns its checks."""
    connector = aiohttp.TCPConnector(ssl=tls.client(settings, identified=False))
    async with aiohttp.ClientSession(connector=connector) as client, asyncio.timeout(30):
        while True:
            try:
                async with client.get(f"https://127.0.0.1:{settings.health_port}/readyz") as answer:
                    if answer.status == expected:
                        return (await answer.json())["checks"]
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


@pytest.fixture
def places(settings_of):
    """Settings of an issuer and a gateway that belong together."""
    address = settings_of("issuer")
    issuer = address.model_copy(update={"oidc_issuer": f"https://127.0.0.1:{address.api_port}"})
    services = {"orders": dict.fromkeys(("write", "read"), "https://127.0.0.1:1")}
    return issuer, settings_of("gateway", oidc_issuer=issuer.oidc_issuer, services=services)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_they_start_serve_and_stop_when_told(places, stop):
    issuer, gateway = places
    async with process("gateway", told(gateway)) as front:
        assert "not loaded" in (await ready(gateway, 503))["issuer"]
        async with process("infra.issuer", told(issuer)) as behind:
            await ready(issuer)
            assert await ready(gateway) == {"service": "ok", "issuer": "ok", "services": "ok"}
            behind.send_signal(stop)
            front.send_signal(stop)
            async with asyncio.timeout(30):
                (_, spoken), _ = await asyncio.gather(front.communicate(), behind.communicate())
            assert (front.returncode, behind.returncode) == (0, 0)
    lines = [json.loads(line) for line in spoken.decode().splitlines()]
    assert {line["service"]["name"] for line in lines} == {"gateway"}
    assert lines[-1]["message"] == "stopped"


async def test_while_its_services_are_down_the_gateway_stays_up(places):
    issuer, gateway = places
    async with process("infra.issuer", told(issuer)), process("gateway", told(gateway)):
        await ready(gateway)
        connector = aiohttp.TCPConnector(ssl=tls.client(gateway, identified=False))
        async with aiohttp.ClientSession(f"https://127.0.0.1:{gateway.api_port}", connector=connector) as client:
            async with client.get("/v1/orders/order-details") as answer:
                assert answer.status == 401
            async with client.get("/openapi.json") as answer:
                assert answer.status == 200


async def test_while_the_issuer_is_down_no_token_is_called_bad(places, world):
    _, gateway = places
    connector = aiohttp.TCPConnector(ssl=tls.client(gateway, identified=False))
    async with process("gateway", told(gateway)), aiohttp.ClientSession(connector=connector) as client:
        await ready(gateway, 503)
        address = f"https://127.0.0.1:{gateway.api_port}/v1/orders/order-details"
        async with client.get(address, headers=world.bearer()) as answer:
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            problem = await answer.json(content_type="application/problem+json")
            assert problem["type"] == "/problems/identity-provider-unavailable"


async def test_two_processes_let_through_what_one_would(settings_of, world):
    quota, nowhere = 500, {"orders": dict.fromkeys(("write", "read"), "https://127.0.0.1:1")}
    fronts = [settings_of("gateway", oidc_issuer=world.address, services=nowhere) for _ in range(2)]
    peers = json.dumps([f"https://127.0.0.1:{one.health_port}" for one in fronts])
    more = {"peers": peers, "quotas": json.dumps({"read": f"{quota}/60"})}
    connector = aiohttp.TCPConnector(ssl=world.trust, limit=16)
    quiet = asyncio.subprocess.DEVNULL
    async with (
        process("gateway", told(fronts[0], **more), quiet),
        process("gateway", told(fronts[1], **more), quiet),
        aiohttp.ClientSession(headers=world.bearer(scope="orders:read"), connector=connector) as client,
    ):
        for front in fronts:
            await ready(front)

        async def status(port):
            async with client.get(f"https://127.0.0.1:{port}/v1/orders/order-details") as answer:
                return answer.status

        found = await asyncio.gather(*(status(front.api_port) for front in fronts for _ in range(300)))
        # What is let through finds no service behind the gateway.
        assert quota * 0.99 <= found.count(503) <= quota * 1.01
        assert set(found) == {503, 429}


@pytest.mark.parametrize(
    ("module", "wrong", "sentence"),
    [
        ("infra.issuer", {"environment": "production"}, "does not start in production"),
        ("infra.issuer", {"environment": None}, "does not start in production"),
        ("infra.issuer", {"oidc_issuer": None}, "not set: HEADRACE_OIDC_ISSUER"),
        ("gateway", {"oidc_issuer": None}, "not set: HEADRACE_OIDC_ISSUER"),
        ("gateway", {"oidc_issuer": "http://127.0.0.1"}, "HEADRACE_OIDC_ISSUER: must be an https address"),
        ("gateway", {"services": '{"orders": {"write": "https://127.0.0.1/path"}}'}, "https://host:port"),
        ("gateway", {"quotas": '{"other": "1/1"}'}, "HEADRACE_QUOTAS"),
        ("gateway", {"quotas": '{"read": "many"}'}, "HEADRACE_QUOTAS"),
        ("gateway", {"peers": "https://127.0.0.1"}, "HEADRACE_PEERS is not JSON"),
        ("gateway", {"proxies": '["10.0.0.0/99"]'}, "HEADRACE_PROXIES"),
        ("gateway", {"kafka_bootstrp": "x"}, "unknown setting: HEADRACE_KAFKA_BOOTSTRP"),
        ("gateway", {"credentials": "/does/not/exist"}, "HEADRACE_CREDENTIALS"),
    ],
)
async def test_what_keeps_them_from_starting_is_one_sentence(places, module, wrong, sentence):
    issuer, gateway = places
    code, out, err = await ended(module, told(issuer if module == "infra.issuer" else gateway, **wrong))
    assert (code, out) == (1, "")
    assert sentence in err
    assert "Traceback" not in err


async def test_a_taken_port_keeps_them_from_starting(places, world):
    _, gateway = places
    code, _, err = await ended("gateway", told(gateway, api_port=world.settings.api_port))
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{world.settings.api_port}" in err
    assert "Traceback" not in err
