"""People log in with a code and PKCE, at any issuer; what is stolen, changed or repeated is of no use."""

import asyncio
import base64
import hashlib
import json
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from infra.device import GRANT, Asked
from infra.errors import InfraError, NotRunning
from infra.login import CLIENT, Login
from infra.login import FILE as KEPT
from infra.oidc import Verifier
from infra.pki import write
from tests.integration.gateway.issuers import CUSTOMER, PASSWORD

pytestmark = pytest.mark.asyncio(loop_scope="module")

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
BACK = "http://127.0.0.1:7/callback"
ASKED = {
    "response_type": "code",
    "client_id": CLIENT,
    "redirect_uri": BACK,
    "scope": "parcels:read",
    "state": "s-1",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


async def authorize(issuer, **asked):
    """The address of the login page."""
    return f"{await issuer.endpoint('authorization_endpoint')}?{urlencode(ASKED | asked)}"


@pytest.fixture
def code(issuer, browser):
    """Gives the code that a person who logs in is sent back with."""

    async def code(**asked):
        _, location, _ = await browser.log_in(await authorize(issuer, **asked))
        return dict(parse_qsl(urlsplit(location or "").query)).get("code")

    return code


@pytest.fixture
def redeem(world, issuer):
    async def redeem(**form):
        given = {"grant_type": "authorization_code", "client_id": CLIENT, "redirect_uri": BACK}
        address = await issuer.endpoint("token_endpoint")
        async with world.client.post(address, data=given | {"code_verifier": VERIFIER} | form) as answer:
            return answer.status, await answer.json()

    return redeem


def login(world, folder):
    return Login(world.address, world.settings.ca_file, folder)


async def begun(world, folder, follow):
    """Runs the command line's login in a thread, with `follow` as the browser that gets its address."""
    loop = asyncio.get_running_loop()

    def show(address):
        asyncio.run_coroutine_threadsafe(follow(address), loop)

    found = login(world, folder)
    await asyncio.to_thread(found.begin, ["parcels:read"], show, 10)
    return found


async def test_a_person_logs_in_and_acts_in_his_own_name(world, browser, tmp_path):
    async def follow(address):
        _, location, _ = await browser.log_in(address)
        await browser.open(location)

    found = await begun(world, tmp_path, follow)
    token = await asyncio.to_thread(found.token)
    identity = await Verifier(world.settings).verify(token)
    assert (identity.subject, identity.machine) == (world.issuer.subject("ann"), False)
    assert identity.scopes == {"parcels:read"}
    assert identity.claims["customer"] == "17850"
    assert (tmp_path / KEPT).stat().st_mode & 0o777 == 0o600
    answer = await world.ask("GET", "/v1/parcels/on-the-way", headers={"authorization": f"Bearer {token}"})
    assert answer.status == 200
    kept = json.loads((tmp_path / KEPT).read_text())
    write(tmp_path / KEPT, json.dumps({**kept, "expires_at": 0}).encode())
    renewed = await asyncio.to_thread(found.token)
    assert renewed != token
    assert json.loads((tmp_path / KEPT).read_text())["refresh_token"] != kept["refresh_token"]
    write(tmp_path / KEPT, json.dumps({**kept, "expires_at": 0}).encode())
    with pytest.raises(InfraError, match="gives no token"):
        await asyncio.to_thread(found.token)
    assert await asyncio.to_thread(found.token) is None


async def test_commands_side_by_side_renew_a_login_once(world, browser, tmp_path):
    async def follow(address):
        _, location, _ = await browser.log_in(address)
        await browser.open(location)

    await begun(world, tmp_path, follow)
    kept = json.loads((tmp_path / KEPT).read_text())
    write(tmp_path / KEPT, json.dumps({**kept, "expires_at": 0}).encode())
    several = [asyncio.to_thread(login(world, tmp_path).token) for _ in range(8)]
    assert len(set(await asyncio.gather(*several))) == 1
    kept = json.loads((tmp_path / KEPT).read_text())
    write(tmp_path / KEPT, json.dumps({**kept, "expires_at": 0}).encode())
    assert await asyncio.to_thread(login(world, tmp_path).token)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda told: {**told, "state": "another"}, "state is another"),
        (lambda told: {name: value for name, value in told.items() if name != "state"}, "state is another"),
        (lambda told: {**told, "iss": "https://evil.example"}, "another issuer"),
        (lambda told: {**told, "code": "stolen"}, "gives no token"),
        (lambda told: {"state": told["state"], "error": "access_denied"}, "access_denied"),
    ],
)
async def test_an_answer_that_is_not_to_our_question_is_refused(world, browser, tmp_path, change, why):
    async def follow(address):
        _, location, _ = await browser.log_in(address)
        parts = urlsplit(location)
        changed = urlencode(change(dict(parse_qsl(parts.query))))
        await browser.open(f"http://{parts.netloc}{parts.path}?{changed}")

    with pytest.raises(InfraError, match=why):
        await begun(world, tmp_path, follow)
    assert not (tmp_path / KEPT).exists()


async def test_nobody_waits_for_ever(world, tmp_path):
    with pytest.raises(NotRunning):
        await asyncio.to_thread(login(world, tmp_path).begin, [], lambda _: None, 0.1)


@pytest.mark.parametrize(("name", "password"), [("eve", "wrong horse"), ("eve", "x"), ("bob", PASSWORD)])
async def test_a_wrong_password_leads_nowhere(issuer, browser, name, password):
    _, location, page = await browser.log_in(await authorize(issuer), name=name, password=password)
    assert location is None
    assert "<form" in page


@pytest.mark.parametrize(
    "asked",
    [
        {"client_id": "operator"},
        {"client_id": "nobody"},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:7@evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:7/another"},
        {"redirect_uri": "http://localhost:7/callback"},
        {"redirect_uri": BACK + "?x=1"},
        {"response_type": "token"},
        {"response_type": "id_token token"},
        {"code_challenge_method": "plain"},
        {"code_challenge": ""},
    ],
)
async def test_what_may_not_be_asked_is_refused(issuer, browser, asked):
    """On a page, or by what was asked for itself, where that is known to be the program's own."""
    status, location, page = await browser.open(await authorize(issuer, **asked), follow=False)
    if location is None:
        assert status == 400
        assert 'type="password"' not in page
    else:
        assert location.startswith(BACK)
        assert "error=" in location
        assert "code=" not in location


@pytest.mark.parametrize(
    "form",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"code_verifier": CHALLENGE},
        {"redirect_uri": "http://127.0.0.1:8/callback"},
    ],
)
async def test_a_code_is_good_for_who_asked_for_it_only(code, redeem, form):
    given = await code()
    status, answer = await redeem(code=given, **form)
    assert (status, answer["error"]) == (400, "invalid_grant")
    assert (await redeem(code=given))[0] == 400


async def test_a_code_is_not_for_another_client(code, redeem):
    status, answer = await redeem(code=await code(), client_id="operator")
    assert status in {400, 401}
    assert "access_token" not in answer


async def test_a_code_is_used_once_and_its_theft_ends_the_login(code, redeem):
    given = await code()
    status, answer = await redeem(code=given)
    assert status == 200
    assert (await redeem(code=given))[0] == 400
    renewal = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
    assert (await redeem(**renewal))[0] == 400


async def test_nobody_gets_more_than_he_has(code, redeem):
    """He is refused, or gets what he has of it."""
    given = await code(scope="parcels:read parcels:write")
    scopes = (await redeem(code=given))[1]["scope"].split() if given else []
    assert "parcels:write" not in scopes


async def test_what_was_asked_cannot_write_into_the_page(issuer, browser):
    asked = {"state": '"><script>alert(1)</script>', "scope": "parcels:read <b>x</b>"}
    _, _, page = await browser.open(await authorize(issuer, **asked), follow=False)
    assert "<script>alert" not in page
    assert "<b>x</b>" not in page


async def logged_in_elsewhere(world, folder, browser):
    """Runs the command line's login by a code in a thread, while somebody types the code in."""
    loop = asyncio.get_running_loop()

    def show(asked):
        done = browser.approve(asked.whole_address)
        asyncio.run_coroutine_threadsafe(done, loop).result(30)

    found = login(world, folder)
    await asyncio.to_thread(found.begin_elsewhere, ["parcels:read"], show)
    return found


async def test_a_person_logs_in_on_another_device(world, browser, tmp_path):
    found = await logged_in_elsewhere(world, tmp_path, browser)
    identity = await Verifier(world.settings).verify(await asyncio.to_thread(found.token))
    assert (identity.subject, identity.machine) == (world.issuer.subject("ann"), False)
    assert identity.scopes == {"parcels:read"}
    assert identity.claims["customer"] == CUSTOMER


async def test_nobody_else_gets_what_a_person_typed_in(issuer, browser, redeem):
    """Who has seen the secret of a device, but not begun with it, gets nothing."""
    form = {"client_id": CLIENT, "scope": "parcels:read", "code_challenge": CHALLENGE, "code_challenge_method": "S256"}
    told = Asked.of(await issuer.post("device_authorization_endpoint", form))
    shown = {"grant_type": GRANT, "device_code": told.device_code}
    await browser.approve(told.whole_address)
    assert "access_token" not in (await redeem(**shown, client_id="operator"))[1]
    status, answer = await redeem(**shown, code_verifier="w" * 43)
    assert (status, answer["error"]) == (400, "invalid_grant")
