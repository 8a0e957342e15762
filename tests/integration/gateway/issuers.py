"""The issuers that the same tests ask: the development issuer, or with `--issuer keycloak` a realm of Keycloak."""

import asyncio
import json
import re
from contextlib import AsyncExitStack, asynccontextmanager
from html import unescape
from urllib.parse import urljoin
from uuid import uuid4

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey, RSAKey

from infra.health import Health
from infra.issuer.app import issuer
from infra.keycloak import realm
from infra.pki import write
from infra.plan import OPERATOR, Plan
from infra.web import running

SCOPES = ("parcels:read", "parcels:write", "streams:read")
SECRET = "a secret of the tests, long enough"
PASSWORD = "correct horse"
CUSTOMER = "17850"
CONSOLE = "https://127.0.0.1:7"
# Eve is for wrong passwords: who gives many of them is locked out for a while.
PEOPLE = ("ann", "eve")


class Development:
    """`python -m infra.issuer`, in this process."""

    algorithm = "ES256"

    def __init__(self, settings):
        self.settings, self.address = settings, settings.oidc_issuer

    @asynccontextmanager
    async def running(self):
        ann = {"password": PASSWORD, "scopes": ["parcels:read"], "claims": {"customer": CUSTOMER, "sub": "mallory"}}
        clients = {OPERATOR: {"secret": SECRET, "scopes": SCOPES}}
        write(self.settings.credentials / "clients.json", json.dumps(clients).encode())
        write(self.settings.credentials / "people.json", json.dumps(dict.fromkeys(PEOPLE, ann)).encode())
        async with AsyncExitStack() as self._stack:
            await self._start()
            yield

    async def _start(self):
        health = Health()
        await self._stack.enter_async_context(running(self.settings, issuer(self.settings, health), health))

    async def rotate(self):
        """It signs with another key from now on."""
        await self._stack.aclose()
        (self.settings.credentials / "signing.pem").unlink()
        await self._start()

    def subject(self, name):
        return name

    def key(self):
        """Its own key, for tokens that only it could have signed."""
        key = ECKey.import_key((self.settings.credentials / "signing.pem").read_bytes())
        return key, key.thumbprint()

    def sign(self, content):
        first, second = decode_dss_signature(self.key()[0].private_key.sign(content, ec.ECDSA(hashes.SHA256())))
        return first.to_bytes(32, "big") + second.to_bytes(32, "big")


class Realm:
    """A realm of Keycloak, as `headrace realm` prints it, with people, a key and a secret that the tests know."""

    algorithm = "RS256"

    def __init__(self, keycloak):
        self._keycloak, self._name = keycloak, f"headrace-{uuid4().hex[:8]}"
        self.address = f"{keycloak.address}/realms/{self._name}"
        self._ids = {name: str(uuid4()) for name in PEOPLE}
        self._key = RSAKey.generate_key(2048)

    @asynccontextmanager
    async def running(self):
        told = realm(Plan(scopes=SCOPES, claims=("customer",)), "headrace", CONSOLE) | {"realm": self._name}
        told["oauth2DevicePollingInterval"] = 1
        (operator,) = [client for client in told["clients"] if client["clientId"] == OPERATOR]
        operator["secret"] = SECRET
        told["users"] += [person(name, id, "parcels:read") for name, id in self._ids.items()]
        told["components"] |= {
            KEYS: [provider(self._key.private_key, 100), *map(generated, ("hmac-generated", "aes-generated"))]
        }
        self._keycloak.add(told)
        certs = f"/realms/{self._name}/protocol/openid-connect/certs"
        own = self._key.as_dict(private=False)["n"]
        (self._kid,) = [key["kid"] for key in self._keycloak.read(certs)["keys"] if key["n"] == own]
        yield

    async def rotate(self):
        """It signs with another key from now on, and shows both."""
        key = RSAKey.generate_key(2048).private_key
        component = provider(key, 200) | {"providerType": KEYS, "name": "the next key"}
        self._keycloak.admin("POST", f"/admin/realms/{self._name}/components", component)

    def subject(self, name):
        return self._ids[name]

    def key(self):
        return self._key, self._kid

    def sign(self, content):
        return self._key.private_key.sign(content, padding.PKCS1v15(), hashes.SHA256())


KEYS = "org.keycloak.keys.KeyProvider"


def provider(key, priority):
    kept = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return {
        "name": "known",
        "providerId": "rsa",
        "config": {"privateKey": [kept.decode()], "priority": [str(priority)]},
    }


def generated(kind):
    return {"name": kind, "providerId": kind, "config": {"priority": ["100"]}}


def person(name, id, *roles):
    return {
        "id": id,
        "username": name,
        "enabled": True,
        "credentials": [{"type": "password", "value": PASSWORD}],
        "realmRoles": [*roles],
        "attributes": {"customer": [CUSTOMER]},
    }


class Asking:
    """Asks an issuer as the command line does, while it may run in this process."""

    def __init__(self, issuer):
        self._issuer = issuer

    async def endpoint(self, name):
        return await asyncio.to_thread(self._issuer.endpoint, name)

    async def post(self, name, form, **headers):
        return await asyncio.to_thread(self._issuer.post, name, form, **headers)


class Browser:
    """Somebody in front of an issuer's pages."""

    def __init__(self, client):
        self._client = client

    async def open(self, address, follow=True):
        """Status, where it leads if nobody follows, and the page."""
        async with self._client.get(address, allow_redirects=follow) as answer:
            return answer.status, answer.headers.get("location"), await answer.text()

    async def log_in(self, address, password=PASSWORD, name="ann"):
        """Fills in the login page; where that leads."""
        async with self._client.get(address) as answer:
            where, page = answer.url, await answer.text()
        target, form = filled(str(where), page, name, password)
        async with self._client.post(target, data=form, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("location"), await answer.text()

    async def approve(self, address, password=PASSWORD, name="ann"):
        """Opens the address on another device, and fills in page after page until there is nothing left."""
        async with self._client.get(address) as answer:
            where, page = str(answer.url), await answer.text()
        for _ in range(4):
            if "<form" not in page:
                break
            target, form = filled(where, page, name, password)
            async with self._client.post(target, data=form) as answer:
                where, page = str(answer.url), await answer.text()
        return page


def filled(where, page, name, password):
    """Where the form of a page goes, and what a person sends with it."""
    known = {"name": name, "username": name, "password": password}
    form = re.search(r"<form.*?</form>", page, re.DOTALL)[0]
    target = urljoin(where, unescape(re.search(r'action="([^"]*)"', form)[1]))
    fields = [dict(re.findall(r'([\w-]+)="([^"]*)"', field)) for field in re.findall(r"<input[^>]*>", form)]
    told = {
        field["name"]: known.get(field["name"], unescape(field.get("value", ""))) for field in fields if "name" in field
    }
    return target, told
