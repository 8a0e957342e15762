"""What a system relies on at any issuer: its documents, its keys and how they change, tokens for machines."""

import asyncio
import base64
import time
from urllib.parse import urlsplit

import pytest

from infra.errors import InfraError, TokenRefused
from infra.oidc import REFETCH_SECONDS, Verifier
from infra.tokens import token
from tests.integration.gateway.issuers import SECRET

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRETS = {"d", "p", "q", "dp", "dq", "qi", "k"}
REFUSALS = {"invalid_client", "unauthorized_client"}
ENDPOINTS = ("jwks_uri", "token_endpoint", "authorization_endpoint", "device_authorization_endpoint")


@pytest.fixture
def operator(world, settings_of):
    """The settings of a machine whose secret is the one that the issuer knows."""
    settings = settings_of("operator", oidc_issuer=world.address)
    settings.password_file.write_text(SECRET)
    return settings


def basic(name, secret):
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


async def test_its_addresses_are_its_own(world, issuer):
    for name in ENDPOINTS:
        assert urlsplit(await issuer.endpoint(name)).netloc == urlsplit(world.address).netloc


async def test_its_keys_are_public_and_one_of_them_is_ours_to_verify_with(world, issuer):
    async with world.client.get(await issuer.endpoint("jwks_uri")) as answer:
        keys = (await answer.json())["keys"]
    assert [sorted(SECRETS & key.keys()) for key in keys] == [[]] * len(keys)
    assert world.issuer.algorithm in {key["alg"] for key in keys if key["use"] == "sig"}


async def test_a_machine_gets_tokens_in_its_own_name(world, operator):
    given = await asyncio.to_thread(token, operator, ["parcels:read", "streams:read"])
    identity = await Verifier(world.settings).verify(given)
    assert (identity.subject, identity.machine) == ("operator", True)
    assert identity.scopes == {"parcels:read", "streams:read"}
    assert {"jti", "iat", "exp", "client_id"} <= identity.claims.keys()


async def test_a_machine_may_show_its_secret_in_either_way(issuer):
    grant = {"grant_type": "client_credentials", "scope": "parcels:read"}
    posted = {**grant, "client_id": "operator", "client_secret": SECRET}
    for answer in (
        await issuer.post("token_endpoint", grant, **basic("operator", SECRET)),
        await issuer.post("token_endpoint", posted),
    ):
        assert (answer["token_type"], answer["scope"]) == ("Bearer", "parcels:read")


@pytest.mark.parametrize(
    ("name", "secret"), [("operator", "wrong"), ("operator", ""), ("nobody", SECRET), ("headrace-cli", ""), ("", "")]
)
async def test_a_machine_without_its_secret_gets_nothing(issuer, name, secret):
    answer = await issuer.post("token_endpoint", {"grant_type": "client_credentials"}, **basic(name, secret))
    assert answer["error"] in REFUSALS
    assert "access_token" not in answer


async def test_a_machine_gets_no_scope_that_there_is_not(operator):
    with pytest.raises(InfraError, match="gives no token"):
        await asyncio.to_thread(token, operator, ["parcels:read", "admin"])


async def test_a_password_is_no_grant(issuer):
    form = {"grant_type": "password", "client_id": "headrace-cli", "username": "ann", "password": "correct horse"}
    answer = await issuer.post("token_endpoint", form)
    assert "access_token" not in answer


async def test_the_gateway_takes_its_tokens_for_what_they_are_for(world, operator):
    path = "/v1/parcels/on-the-way"
    given = {scope: await asyncio.to_thread(token, operator, [scope]) for scope in ("parcels:read", "streams:read")}
    found = {
        scope: (await world.ask("GET", path, headers={"authorization": f"Bearer {one}"})).status
        for scope, one in given.items()
    }
    assert found == {"parcels:read": 200, "streams:read": 403}
    assert (await world.raw(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())).startswith(
        b"HTTP/1.1 401 "
    )


async def test_when_its_key_changes_nobody_notices(world, operator, monkeypatch):
    """Last in this module: tokens that a test signs itself are signed with the key before."""
    verifier, before = Verifier(world.settings), await asyncio.to_thread(token, operator, ["parcels:read"])
    assert (await verifier.verify(before)).subject == "operator"
    await world.issuer.rotate()
    after = await asyncio.to_thread(token, operator, ["parcels:read"])
    assert before.split(".")[0] != after.split(".")[0]
    with pytest.raises(TokenRefused, match="does not have"):
        await verifier.verify(after)
    later = time.monotonic() + REFETCH_SECONDS + 1
    monkeypatch.setattr("infra.oidc.monotonic", lambda: later)
    assert (await verifier.verify(after)).subject == "operator"
