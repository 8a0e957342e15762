"""People log in at the development issuer with a code and PKCE; what is stolen, changed or repeated is of no use."""

import asyncio
import base64
import hashlib
import json
import re
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from infra.errors import InfraError, NotRunning
from infra.issuer.people import FILE
from infra.login import FILE as KEPT
from infra.login import Login
from infra.oidc import Verifier
from infra.pki import write

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "correct horse"
ANN = {"password": PASSWORD, "scopes": ["parcels:read"], "claims": {"customer": "17850", "sub": "mallory"}}
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
BACK = "http://127.0.0.1:7/callback"
ASKED = {
    "response_type": "code",
    "client_id": "headrace-cli",
    "redirect_uri": BACK,
    "scope": "parcels:read",
    "state": "s-1",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


@pytest.fixture
def people(world):
    write(world.issuer_settings.credentials / FILE, json.dumps({"ann": ANN}).encode())


class Browser:
    """Somebody in front of the login page."""

    def __init__(self, world):
        self.world = world

    async def page(self, address):
        async with self.world.client.get(address) as answer:
            return answer.status, await answer.text()

    async def log_in(self, address, password=PASSWORD, name="ann"):
        """Fills in the form; where it leads."""
        _, page = await self.page(address)
        hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page))
        form = hidden | {"name": name, "password": password}
        async with self.world.client.post(
            f"{self.world.address}/authorize", data=form, allow_redirects=False
        ) as answer:
            return answer.status, answer.headers.get("location"), await answer.text()

    async def code(self):
        _, location, _ = await self.log_in(f"{self.world.address}/authorize?{urlencode(ASKED)}")
        return dict(parse_qsl(urlsplit(location).query))["code"]

    async def redeem(self, **form):
        given = {"grant_type": "authorization_code", "client_id": "headrace-cli", "redirect_uri": BACK}
        async with self.world.client.post(
            f"{self.world.address}/token", data=given | {"code_verifier": VERIFIER} | form
        ) as answer:
            return answer.status, await answer.json()


@pytest.fixture
def browser(world, people):  # noqa: ARG001  # there must be people to log in
    return Browser(world)


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
        await browser.page(location)

    found = await begun(world, tmp_path, follow)
    token = await asyncio.to_thread(found.token)
    identity = await Verifier(world.settings).verify(token)
    assert (identity.subject, identity.scopes, identity.machine) == ("ann", {"parcels:read"}, False)
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
    with pytest.raises(InfraError, match="unknown, used, expired"):
        await asyncio.to_thread(found.token)
    assert await asyncio.to_thread(found.token) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda told: {**told, "state": "another"}, "state is another"),
        (lambda told: {name: value for name, value in told.items() if name != "state"}, "state is another"),
        (lambda told: {**told, "iss": "https://evil.example"}, "another issuer"),
        (lambda told: {**told, "code": "stolen"}, "unknown, used, expired"),
        (lambda told: {"state": told["state"], "error": "access_denied"}, "access_denied"),
    ],
)
async def test_an_answer_that_is_not_to_our_question_is_refused(world, browser, tmp_path, change, why):
    async def follow(address):
        _, location, _ = await browser.log_in(address)
        parts = urlsplit(location)
        changed = urlencode(change(dict(parse_qsl(parts.query))))
        await browser.page(f"http://{parts.netloc}{parts.path}?{changed}")

    with pytest.raises(InfraError, match=why):
        await begun(world, tmp_path, follow)
    assert not (tmp_path / KEPT).exists()


async def test_nobody_waits_for_ever(world, people, tmp_path):  # noqa: ARG001
    with pytest.raises(NotRunning):
        await asyncio.to_thread(login(world, tmp_path).begin, [], lambda _: None, 0.1)


@pytest.mark.parametrize(("name", "password"), [("ann", "wrong horse"), ("ann", ""), ("bob", PASSWORD), ("", "")])
async def test_a_wrong_password_leads_nowhere(world, browser, name, password):
    status, location, page = await browser.log_in(
        f"{world.address}/authorize?{urlencode(ASKED)}", name=name, password=password
    )
    assert (status, location) == (401, None)
    assert "No such person" in page


@pytest.mark.parametrize(
    "asked",
    [
        {"client_id": "operator"},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:7@evil.example/callback"},
        {"redirect_uri": "http://localhost:7/callback"},
        {"redirect_uri": BACK + "?x=1"},
        {"response_type": "token"},
        {"code_challenge_method": "plain"},
        {"code_challenge": ""},
        {"state": ""},
    ],
)
async def test_what_may_not_be_asked_leads_nowhere(world, browser, asked):
    status, text = await browser.page(f"{world.address}/authorize?{urlencode(ASKED | asked)}")
    assert status == 400
    assert "error" in json.loads(text)


@pytest.mark.parametrize(
    "form",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"code_verifier": CHALLENGE},
        {"redirect_uri": "http://127.0.0.1:8/callback"},
        {"client_id": "operator"},
    ],
)
async def test_a_code_is_good_for_who_asked_for_it_only(browser, form):
    code = await browser.code()
    status, answer = await browser.redeem(code=code, **form)
    assert (status, answer["error"]) == (400, "invalid_grant")
    assert (await browser.redeem(code=code))[0] == 400


async def test_a_code_is_used_once_and_its_theft_ends_the_login(browser):
    code = await browser.code()
    status, answer = await browser.redeem(code=code)
    assert status == 200
    assert (await browser.redeem(code=code))[0] == 400
    renewal = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
    assert (await browser.redeem(**renewal))[0] == 400


async def test_nobody_gets_more_than_he_has(world, browser):
    asked = urlencode(ASKED | {"scope": "parcels:read parcels:write"})
    status, location, text = await browser.log_in(f"{world.address}/authorize?{asked}")
    assert (status, location, json.loads(text)["error"]) == (400, None, "invalid_scope")


async def test_what_was_asked_cannot_write_into_the_page(world, browser):
    asked = urlencode(ASKED | {"state": '"><script>alert(1)</script>', "scope": "<b>x</b>"})
    _, page = await browser.page(f"{world.address}/authorize?{asked}")
    assert "<script>" not in page
    assert "<b>x</b>" not in page
