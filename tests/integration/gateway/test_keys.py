"""Keys come from the configured issuer only; they change, and what they were not made for they are not used for."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import Response
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import urlsafe_b64encode

from infra.errors import IssuerUnavailable, TokenRefused
from infra.health import Health
from infra.oidc import REFETCH_SECONDS, REFRESH_SECONDS, Verifier
from infra.web import application, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


def encoded(content):
    return urlsafe_b64encode(content).decode()


class OtherIssuer:
    """An issuer whose documents the test decides, and who counts how often they are fetched."""

    def __init__(self, settings):
        self.settings, self.fetched, self.keys = settings, [], {"keys": []}
        self.discovery = {"issuer": settings.oidc_issuer, "jwks_uri": f"{settings.oidc_issuer}/jwks"}

    @asynccontextmanager
    async def running(self):
        app = application("issuer", self.settings, Health(), peers=None, body_limit=1024)

        async def answer(request):
            self.fetched.append(request.url.path)
            content = self.keys if request.url.path == "/jwks" else self.discovery
            return content if isinstance(content, Response) else Response(json.dumps(content))

        app.add_route("/{path:path}", answer, methods=["GET"])
        async with running(self.settings, app, Health()):
            yield self

    def token(self, key, alg, kid, **more):
        now = int(time.time())
        claims = {"iss": self.settings.oidc_issuer, "aud": "headrace", "sub": "ann", "scope": "", "client_id": "shop"}
        claims |= {"iat": now, "exp": now + 60, "jti": "1", **more}
        return jwt.encode({"alg": alg, "kid": kid, "typ": "at+jwt"}, claims, key, algorithms=[alg])


@pytest.fixture
def other(settings_of):
    settings = settings_of("issuer")
    address = f"https://127.0.0.1:{settings.api_port}"
    return OtherIssuer(settings.model_copy(update={"oidc_issuer": address}))


def public(key, kid, **more):
    return {**key.as_dict(private=False), "kid": kid, **more}


@pytest.mark.parametrize(
    ("alg", "key"),
    [
        ("ES256", ECKey.generate_key("P-256")),
        ("RS256", RSAKey.generate_key(2048)),
        ("Ed25519", OKPKey.generate_key("Ed25519")),
        pytest.param("EdDSA", OKPKey.generate_key("Ed25519"), marks=pytest.mark.filterwarnings("ignore:EdDSA")),
    ],
)
async def test_every_algorithm_of_the_list_is_taken(other, alg, key):
    async with other.running():
        other.keys = {"keys": [public(key, "k1")]}
        assert (await Verifier(other.settings).verify(other.token(key, alg, "k1"))).subject == "ann"


@pytest.mark.parametrize(
    ("alg", "key", "more"),
    [
        ("ES384", ECKey.generate_key("P-384"), {}),
        ("RS512", RSAKey.generate_key(2048), {}),
        ("PS256", RSAKey.generate_key(2048), {}),
        ("RS256", RSAKey.generate_key(2048), {"alg": "PS256"}),
        ("RS256", RSAKey.generate_key(2048), {"use": "enc"}),
        ("ES256", ECKey.generate_key("P-256"), {"alg": "ES384"}),
    ],
)
async def test_no_other_algorithm_or_use_is_taken(other, alg, key, more):
    async with other.running():
        spare = ECKey.generate_key("P-256")
        other.keys = {"keys": [public(key, "k1", **more), public(spare, "k2")]}
        with pytest.raises(TokenRefused):
            await Verifier(other.settings).verify(other.token(key, alg, "k1"))


async def test_short_and_symmetric_keys_are_passed_over(other):
    async with other.running():
        short = rsa.generate_private_key(65537, 1024).public_key().public_numbers()  # noqa: S505  # that is the test
        listed = {"kty": "RSA", "n": number(short.n), "e": number(short.e), "kid": "k1"}
        symmetric = {"kty": "oct", "k": encoded(b"x" * 32), "kid": "k2"}
        other.keys = {"keys": [listed, symmetric, 7, {"kid": "k3"}, {"kty": "EC", "crv": "P-256", "x": "!", "y": "!"}]}
        other.keys["keys"].append(public(ECKey.generate_key("P-256"), "k4", alg=["ES256"]))
        verifier = Verifier(other.settings)
        with pytest.raises(IssuerUnavailable):
            await verifier.load()
        assert verifier.unready()


def number(value):
    return encoded(value.to_bytes((value.bit_length() + 7) // 8))


async def test_a_new_key_is_found_and_an_old_one_forgotten(other, monkeypatch):
    old, new = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
    async with other.running():
        other.keys = {"keys": [public(old, "old")]}
        verifier = Verifier(other.settings)
        token = other.token(old, "ES256", "old")
        await verifier.verify(token)
        other.keys = {"keys": [public(new, "new")]}
        monkeypatch.setattr("infra.oidc.monotonic", lambda: time.monotonic() + REFETCH_SECONDS)
        assert (await verifier.verify(other.token(new, "ES256", "new"))).subject == "ann"
        with pytest.raises(TokenRefused):
            await verifier.verify(token)


async def test_unknown_keys_do_not_make_us_ask_the_issuer_again_and_again(other):
    key = ECKey.generate_key("P-256")
    async with other.running():
        other.keys = {"keys": [public(key, "k1")]}
        verifier = Verifier(other.settings)
        for kid in range(50):
            with pytest.raises(TokenRefused):
                await verifier.verify(other.token(key, "ES256", f"unknown-{kid}"))
        assert other.fetched.count("/jwks") == 1


async def test_an_issuer_that_hangs_holds_up_nobody_whose_key_is_here(other, monkeypatch):
    key, asked = ECKey.generate_key("P-256"), []
    async with other.running():
        other.keys = {"keys": [public(key, "k1")]}
        verifier = Verifier(other.settings)
        await verifier.load()

        async def hangs(*_):
            asked.append(time.monotonic())
            await asyncio.Event().wait()

        monkeypatch.setattr("infra.oidc.fetch_keys", hangs)
        monkeypatch.setattr("infra.oidc.monotonic", lambda: time.monotonic() + REFRESH_SECONDS)
        async with asyncio.timeout(2):
            for number in range(20):
                assert (await verifier.verify(other.token(key, "ES256", "k1", sub=f"ann {number}"))).subject
                await asyncio.sleep(0)
        assert len(asked) == 1
        verifier._refreshing.cancel()


async def test_an_issuer_that_fails_is_not_asked_for_each_unknown_key(other, monkeypatch):
    key, asked = ECKey.generate_key("P-256"), []
    async with other.running():
        other.keys = {"keys": [public(key, "k1")]}
        verifier = Verifier(other.settings)
        await verifier.load()

        async def fails(*_):
            asked.append(time.monotonic())
            raise IssuerUnavailable("it has failed")

        late = REFETCH_SECONDS
        monkeypatch.setattr("infra.oidc.fetch_keys", fails)
        monkeypatch.setattr("infra.oidc.monotonic", lambda: time.monotonic() + late)
        for seconds in (REFETCH_SECONDS, REFETCH_SECONDS + 5, 2 * REFETCH_SECONDS + 1):
            late = seconds
            for _ in range(5):
                with pytest.raises(IssuerUnavailable):
                    await verifier.verify(other.token(key, "ES256", "unknown"))
        assert len(asked) == 2


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://evil.example", "jwks_uri": "{issuer}/jwks"},
        {"issuer": "{issuer}", "jwks_uri": "https://evil.example/jwks"},
        {"issuer": "{issuer}", "jwks_uri": "http://127.0.0.1/jwks"},
        {"issuer": "{issuer}", "jwks_uri": "https://127.0.0.1:1/jwks"},
        {"issuer": "{issuer}", "jwks_uri": "https://[::1"},
        {"issuer": "{issuer}"},
        {"issuer": "{issuer}", "jwks_uri": "{issuer}/jwks", "filler": "x" * 300_000},
        [],
    ],
)
async def test_keys_come_only_from_the_configured_issuer(other, discovery):
    key = ECKey.generate_key("P-256")
    async with other.running():
        other.keys = {"keys": [public(key, "k1")]}
        other.discovery = json.loads(json.dumps(discovery).replace("{issuer}", other.settings.oidc_issuer))
        with pytest.raises(IssuerUnavailable):
            await Verifier(other.settings).verify(other.token(key, "ES256", "k1"))
        assert "/jwks" not in other.fetched


async def test_a_redirect_to_other_keys_is_not_followed(other):
    async with other.running():
        other.keys = Response(status_code=302, headers={"location": f"{other.settings.oidc_issuer}/elsewhere"})
        with pytest.raises(IssuerUnavailable):
            await Verifier(other.settings).load()
        assert "/elsewhere" not in other.fetched


async def test_an_issuer_of_another_authority_is_not_believed(other, foreign_settings):
    genuine = other.settings
    other.settings = genuine.model_copy(update={"credentials": foreign_settings("issuer").credentials})
    async with other.running():
        with pytest.raises(IssuerUnavailable):
            await Verifier(genuine).load()
        assert other.fetched == []


async def test_while_the_issuer_is_down_known_keys_serve_on(other):
    key, stranger = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
    verifier = Verifier(other.settings)
    with pytest.raises(IssuerUnavailable):
        await verifier.verify(other.token(key, "ES256", "k1"))
    async with other.running():
        other.keys = {"keys": [public(key, "k1")]}
        await verifier.load_as_soon_as_possible()
    await verifier.verify(other.token(key, "ES256", "k1"))
    with pytest.raises(TokenRefused):
        await verifier.verify(other.token(stranger, "ES256", "k1"))


async def test_the_cache_of_tokens_is_bounded(other, monkeypatch):
    monkeypatch.setattr("infra.oidc.CACHED_TOKENS", 3)
    key = ECKey.generate_key("P-256")
    async with other.running():
        other.keys = {"keys": [public(key, "k1")]}
        verifier = Verifier(other.settings)
        for jti in range(10):
            await verifier.verify(other.token(key, "ES256", "k1", jti=str(jti)))
        assert len(verifier._known) == 3
