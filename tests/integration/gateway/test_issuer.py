"""The development issuer: tokens for those who prove who they are, and no more scopes than they were given."""

import asyncio
import base64
import json
from urllib.parse import urlencode

import pytest

from infra import tokens
from infra.errors import InfraError, SettingsError
from infra.health import Health
from infra.issuer.app import issuer
from infra.issuer.tokens import FILE, Signer
from infra.oidc import Verifier
from infra.pki import write
from tests.integration.gateway.issuers import SECRET

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORM = {"content-type": "application/x-www-form-urlencoded"}
GRANT = {"grant_type": "client_credentials"}


def basic(name="operator", secret=SECRET):
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


@pytest.fixture
def token(world):
    async def token(body, headers=None, method="POST"):
        sent = urlencode(body) if isinstance(body, dict) else body
        async with world.client.request(method, f"{world.address}/token", data=sent, headers=headers) as answer:
            return answer.status, answer.headers, json.loads(await answer.read())

    return token


async def test_the_discovery_document_describes_it(world):
    async with world.client.get(f"{world.address}/.well-known/openid-configuration") as answer:
        found = await answer.json()
    assert (found["issuer"], found["jwks_uri"]) == (world.address, f"{world.address}/jwks")
    async with world.client.get(found["jwks_uri"]) as answer:
        [key] = (await answer.json())["keys"]
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")
    assert "d" not in key


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (GRANT, basic()),
        ({**GRANT, "client_id": "operator"}, basic()),
        ({**GRANT, "client_id": "operator", "client_secret": SECRET}, {}),
    ],
)
async def test_a_client_proves_itself_in_either_way(world, token, body, headers):
    status, answered, found = await token({**body, "scope": "parcels:read"}, {**FORM, **headers})
    assert (status, found["token_type"], found["scope"]) == (200, "Bearer", "parcels:read")
    assert (answered["cache-control"], answered["pragma"]) == ("no-store", "no-cache")
    identity = await Verifier(world.settings).verify(found["access_token"])
    assert (identity.subject, identity.scopes) == ("operator", {"parcels:read"})


async def test_without_a_scope_a_client_gets_all_that_it_has(token):
    _, _, found = await token(GRANT, {**FORM, **basic()})
    assert found["scope"] == "parcels:read parcels:write streams:read"


BOTH = {**GRANT, "client_id": "operator", "client_secret": SECRET}


@pytest.mark.parametrize(
    ("body", "headers", "status", "error"),
    [
        (GRANT, {}, 401, "invalid_client"),
        (GRANT, basic(secret="wrong"), 401, "invalid_client"),
        (GRANT, basic(secret=""), 401, "invalid_client"),
        (GRANT, basic(secret=SECRET + " "), 401, "invalid_client"),
        (GRANT, basic(name="nobody"), 401, "invalid_client"),
        (GRANT, basic(name=""), 401, "invalid_client"),
        (GRANT, {"authorization": "Basic !!!"}, 401, "invalid_client"),
        (GRANT, {"authorization": "Basic /////w=="}, 401, "invalid_client"),
        (GRANT, {"authorization": "Bearer x"}, 401, "invalid_client"),
        (GRANT, {"authorization": "Basic"}, 401, "invalid_client"),
        ({**GRANT, "client_id": "other"}, basic(), 401, "invalid_client"),
        ({**GRANT, "client_id": "operator", "client_secret": "wrong"}, {}, 401, "invalid_client"),
        (BOTH, basic(), 400, "invalid_request"),
        ({}, basic(), 400, "invalid_request"),
        ({"grant_type": ""}, basic(), 400, "unsupported_grant_type"),
        ({"grant_type": "password", "username": "a", "password": "b"}, basic(), 400, "unsupported_grant_type"),
        ({**GRANT, "scope": "parcels:read admin"}, basic(), 400, "invalid_scope"),
        ({**GRANT, "scope": "PARCELS:READ"}, basic(), 400, "invalid_scope"),
        (b"grant_type=client_credentials&grant_type=client_credentials", basic(), 400, "invalid_request"),
        (b"grant_type", basic(), 400, "invalid_request"),
        (b"grant_type=%ff", basic(), 400, "invalid_request"),
        (b"\xff=1", basic(), 400, "invalid_request"),
        (b"a=1&" * 30 + b"b=2", basic(), 400, "invalid_request"),
        (b"", basic(), 400, "invalid_request"),
    ],
)
async def test_whoever_does_not_is_refused_as_the_standard_says(token, body, headers, status, error):
    found_status, answered, found = await token(body, {**FORM, **headers})
    assert (found_status, found["error"]) == (status, error)
    assert ("www-authenticate" in answered) == (status == 401)
    assert SECRET not in json.dumps(found)


async def test_only_a_form_is_read(token):
    status, _, found = await token(b'{"grant_type": "client_credentials"}', {"content-type": "application/json"})
    assert (status, found["error"]) == (400, "invalid_request")


async def test_a_large_form_is_not_read(token):
    status, _, found = await token(b"a=" + b"x" * 10_000, {**FORM, **basic()})
    assert (status, found["type"]) == (413, "/problems/content-too-large")


async def test_tokens_are_asked_for_by_post_only(token):
    status, _, found = await token(None, basic(), "GET")
    assert (status, found["type"]) == (405, "/problems/method-not-allowed")


async def test_a_client_that_is_added_is_known_at_once(world, token):
    file = world.issuer_settings.credentials / "clients.json"
    before = file.read_bytes()
    assert (await token(GRANT, {**FORM, **basic("new")}))[0] == 401
    write(file, json.dumps({"new": {"secret": SECRET, "scopes": ["a"]}}).encode())
    try:
        assert (await token(GRANT, {**FORM, **basic("new")}))[2]["scope"] == "a"
        assert (await token(GRANT, {**FORM, **basic()}))[0] == 401
        for broken in (b"{", b'{"new": {"secret": "short", "scopes": []}}', b"[]"):
            write(file, broken)
            assert (await token(GRANT, {**FORM, **basic("new")}))[0] == 500
        write(file, before, 0o644)
        assert (await token(GRANT, {**FORM, **basic()}))[0] == 500
        file.unlink()
        assert (await token(GRANT, {**FORM, **basic()}))[0] == 401
    finally:
        write(file, before)
    assert (await token(GRANT, {**FORM, **basic()}))[0] == 200


async def test_the_key_outlives_a_restart_and_is_for_its_owner_only(world):
    file = world.issuer_settings.credentials / FILE
    assert file.stat().st_mode & 0o777 == 0o600
    signer = Signer(world.address, "headrace", world.issuer_settings.credentials)
    identity = await Verifier(world.settings).verify(signer.token("ann", ["a"]))
    assert identity.subject == "ann"
    file.chmod(0o644)
    try:
        with pytest.raises(SettingsError, match="can be read by others"):
            Signer(world.address, "headrace", world.issuer_settings.credentials)
    finally:
        file.chmod(0o600)


async def test_it_does_not_start_outside_of_development(world):
    production = world.issuer_settings.model_copy(update={"environment": "production"})
    with pytest.raises(SettingsError, match="does not start in production"):
        issuer(production, Health())


async def test_the_whole_way(world, token):
    _, _, found = await token({**GRANT, "scope": "parcels:read"}, {**FORM, **basic()})
    headers = {"authorization": f"Bearer {found['access_token']}"}
    assert (await world.ask("GET", "/v1/parcels/on-the-way", headers=headers)).status == 200
    assert (await world.ask("GET", "/v1/parcels/p-1/events", headers=headers)).status == 403


async def test_the_command_line_gets_its_token_here(world, settings_of):
    operator = settings_of("operator", oidc_issuer=world.address)
    file = world.issuer_settings.credentials / "clients.json"
    before = file.read_bytes()
    write(file, json.dumps({"operator": {"secret": operator.password, "scopes": ["parcels:read"]}}).encode())
    try:
        given = await asyncio.to_thread(tokens.token, operator, ["parcels:read"])
        assert (await Verifier(world.settings).verify(given)).scopes == {"parcels:read"}
        with pytest.raises(InfraError, match="may not have all of these scopes"):
            await asyncio.to_thread(tokens.token, operator, ["admin"])
    finally:
        write(file, before)
