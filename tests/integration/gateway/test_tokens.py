"""Bad tokens are refused, at the gateway, before anything reaches a service."""

import base64
import hashlib
import hmac
import json
import time

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from infra.errors import TokenRefused
from infra.oidc import Verifier

pytestmark = pytest.mark.asyncio(loop_scope="module")


def encoded(content):
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def unsigned(world, alg="none", signature=""):
    _, kid = world.key()
    return f"{encoded({'alg': alg, 'kid': kid, 'typ': 'at+jwt'})}.{encoded(world.claims())}.{signature}"


def by_public_key(world):
    """HS256 keyed with what everybody knows: the public key."""
    key, kid = world.key()
    signing = f"{encoded({'alg': 'HS256', 'kid': kid, 'typ': 'at+jwt'})}.{encoded(world.claims())}"
    digest = hmac.new(key.as_pem(private=False), signing.encode(), hashlib.sha256).digest()
    return f"{signing}.{encoded(digest)}"


def by_stranger(world, with_key=False):
    """Signed by somebody else's key, under the issuer's key id."""
    _, kid = world.key()
    alg = world.issuer.algorithm
    stranger = ECKey.generate_key("P-256") if alg == "ES256" else RSAKey.generate_key(2048)
    own = {"alg": alg, "kid": kid, "typ": "at+jwt"}
    if with_key:
        own["jwk"] = stranger.as_dict(private=False)
    return jwt.encode(own, world.claims(), stranger, algorithms=[alg])


def changed(world):
    """More scopes than were signed for."""
    head, _, signature = world.token(scope="parcels:read").split(".")
    return f"{head}.{encoded(world.claims())}.{signature}"


def stretched(world):
    """The same signature, with a byte more."""
    head, body, signature = world.token().split(".")
    return f"{head}.{body}.{signature}AA"


def signed(world, header, payload):
    """The issuer's own signature over exactly these bytes."""
    signing = f"{encoded(header)}.{encoded(payload)}"
    return f"{signing}.{encoded(world.issuer.sign(signing.encode()))}"


def header(world):
    return {"alg": world.issuer.algorithm, "kid": world.key()[1], "typ": "at+jwt"}


def doubled(world, **first):
    """A claim that stands twice: whoever reads the first one and whoever reads the last one would differ."""
    claims = json.dumps(world.claims())
    return signed(world, header(world), f"{json.dumps(first)[:-1]}, {claims[1:]}".encode())


def doubled_header(world):
    kid = world.key()[1]
    alg = world.issuer.algorithm
    doubled = f'{{"alg": "none", "alg": "{alg}", "kid": "{kid}", "typ": "at+jwt"}}'
    return signed(world, doubled.encode(), world.claims())


def nested(world):
    head, _, signature = world.token().split(".")
    return f"{head}.{encoded(b'[' * 5000)}.{signature}"


PAST, FUTURE = time.time() - 3600, time.time() + 3600
BAD = {
    "alg none": unsigned,
    "alg None": lambda world: unsigned(world, "None"),
    "alg nOnE with a signature": lambda world: unsigned(world, "nOnE", "AAAA"),
    "no signature": lambda world: unsigned(world, world.issuer.algorithm),
    "a signature of zeros": lambda world: unsigned(world, world.issuer.algorithm, encoded(bytes(64))),
    "another algorithm than its key's": lambda world: unsigned(world, "PS256", encoded(bytes(256))),
    "HS256 with the public key": by_public_key,
    "another key under the same id": by_stranger,
    "a key in its own header": lambda world: by_stranger(world, with_key=True),
    "jku": lambda world: world.token({"jku": "https://evil.example/jwks"}),
    "x5u": lambda world: world.token({"x5u": "https://evil.example/cert"}),
    "x5c": lambda world: world.token({"x5c": ["MIIB"]}),
    "crit": lambda world: world.token({"crit": ["b64"], "b64": True}),
    "an unknown key id": lambda world: world.token({"kid": "unknown"}),
    "a path as key id": lambda world: world.token({"kid": "../../etc/passwd"}),
    "no key id": lambda world: world.token({"kid": None}),
    "another issuer": lambda world: world.token(iss="https://evil.example"),
    "an issuer with a slash more": lambda world: world.token(iss=world.address + "/"),
    "no issuer": lambda world: world.token(iss=None),
    "another audience": lambda world: world.token(aud="another"),
    "an audience that holds ours": lambda world: world.token(aud="headrace-admin"),
    "no audience": lambda world: world.token(aud=None),
    "expired": lambda world: world.token(exp=PAST),
    "no expiry": lambda world: world.token(exp=None),
    "an expiry in words": lambda world: world.token(exp="tomorrow"),
    "an expiry of true": lambda world: world.token(exp=True),
    "not valid yet": lambda world: world.token(nbf=FUTURE),
    "issued in the future": lambda world: world.token(iat=FUTURE),
    "an ID token": lambda world: world.token({"typ": "JWT"}),
    "no type": lambda world: world.token({"typ": None}),
    "a logout token": lambda world: world.token({"typ": "logout+jwt"}),
    "not valid yet and issued long ago": lambda world: world.token(nbf=FUTURE, iat=PAST),
    "issued at no time": lambda world: world.token(iat=None),
    "issued in words": lambda world: world.token(iat="yesterday"),
    "no subject": lambda world: world.token(sub=None),
    "an empty subject": lambda world: world.token(sub=""),
    "no client": lambda world: world.token(client_id=None),
    "an empty client": lambda world: world.token(client_id=""),
    "a client that is no text": lambda world: world.token(client_id=7),
    "no id of its own": lambda world: world.token(jti=None),
    "an id that is no text": lambda world: world.token(jti=["1"]),
    "a subject that is no text": lambda world: world.token(sub=["ann"]),
    "scopes that are no text": lambda world: world.token(scope=["parcels:read"]),
    "claims changed after signing": changed,
    "a stretched signature": stretched,
    "a claim twice": lambda world: doubled(world, sub="mallory"),
    "scopes twice": lambda world: doubled(world, scope="nothing"),
    "an algorithm twice": doubled_header,
    "of a tenant": lambda world: world.token(tenant="mill"),
    "claims that are a list": lambda world: signed(world, header(world), [world.claims()]),
    "a payload nested deeply": nested,
    "a payload that is a list": lambda _: f"{encoded({'alg': 'ES256'})}.{encoded([])}.AAAA",
    "an encrypted token": lambda world: f"{world.token()}.AAAA.AAAA",
    "garbage": lambda _: "garbage",
    "dots": lambda _: "...",
    "one part less": lambda world: world.token().rpartition(".")[0],
    "base64 that is none": lambda world: world.token() + "!",
    "a header that is a list": lambda _: f"{encoded(['alg'])}.{encoded({})}.AAAA",
    "a huge token": lambda world: world.token(filler="x" * 9000),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token_is_refused_and_reaches_no_service(world, name):
    answer = await world.ask("GET", "/v1/parcels/on-the-way", headers={"authorization": f"Bearer {BAD[name](world)}"})
    assert (answer.status, answer.problem) == (401, "invalid-token")
    assert answer.headers["www-authenticate"] == 'Bearer realm="headrace", error="invalid_token"'
    assert world.seen == []


async def test_there_are_enough_bad_tokens(world):
    assert len({BAD[name](world) for name in BAD}) >= 40


NO_ERROR = b'www-authenticate: Bearer realm="headrace"\r\n'
INVALID = b'www-authenticate: Bearer realm="headrace", error="invalid_token"\r\n'


@pytest.mark.parametrize(
    ("value", "challenge"),
    [
        (b"", NO_ERROR),
        (b"Basic b3BlcmE6eA==", NO_ERROR),
        (b"Token abc", NO_ERROR),
        (b"bearer\tabc", NO_ERROR),
        (b"Bearer", INVALID),
        (b"Bearer ", INVALID),
        (b"Bearer a b", INVALID),
        (b"Bearer \xff", INVALID),
    ],
)
async def test_what_is_no_bearer_token_is_refused_and_of_another_scheme_no_error_is_named(world, value, challenge):
    asked = b"GET /v1/parcels/on-the-way HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: " + value
    answer = await world.raw(asked + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert challenge in answer
    assert world.seen == []


async def test_without_a_token_the_challenge_names_no_error(world):
    answer = await world.raw(b"GET /v1/parcels/on-the-way HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b'www-authenticate: Bearer realm="headrace"\r\n' in answer


async def test_a_token_in_the_query_is_no_token(world):
    asked = f"GET /v1/parcels/on-the-way?access_token={world.token()} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert (await world.raw(asked.encode())).startswith(b"HTTP/1.1 401 ")
    assert world.seen == []


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/parcels/p-1/send", "parcels:write"),
        ("GET", "/v1/parcels/p-1/events", "streams:read"),
        ("GET", "/v1/parcels/on-the-way", "parcels:read"),
        ("GET", "/v1/parcels/on-the-way/p-1", "parcels:read"),
    ],
)
async def test_each_address_takes_its_own_scope_only(world, method, path, scope):
    more = {"data": b"{}"} if method == "POST" else {}
    kind = {"content-type": "application/json"}
    others = f"parcels:read parcels:write streams:read other:{scope} {scope}x".split()
    others.remove(scope)
    for insufficient in (" ".join(others), "", None, scope.upper(), scope.replace(":", ",")):
        headers = {**kind, **world.bearer(scope=insufficient)}
        answer = await world.ask(method, path, headers=headers, **more)
        assert (answer.status, answer.problem) == (403, "insufficient-scope")
        assert f'error="insufficient_scope", scope="{scope}"' in answer.headers["www-authenticate"]
    assert world.seen == []
    answer = await world.ask(method, path, headers={**kind, **world.bearer(scope=scope)}, **more)
    assert answer.status == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["another", "headrace"]},
        {"nbf": time.time() - 60},
        {"exp": time.time() + 3600.5},
        {"scope": "  parcels:read   other "},
        {"iat": time.time() - 60.5},
    ],
)
async def test_a_good_token_of_another_form_is_taken(world, claims):
    assert (await world.ask("GET", "/v1/parcels/on-the-way", headers=world.bearer(**claims))).status == 200


async def test_a_known_token_ends_when_it_says_so(world, monkeypatch):
    verifier, token = Verifier(world.settings), world.token(exp=time.time() + 60)
    await verifier.verify(token)
    monkeypatch.setattr("infra.oidc.time", lambda: time.time() + 64)
    await verifier.verify(token)
    monkeypatch.setattr("infra.oidc.time", lambda: time.time() + 66)
    with pytest.raises(TokenRefused, match="expired"):
        await verifier.verify(token)
