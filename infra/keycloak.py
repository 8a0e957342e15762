"""The realm with which Keycloak 26 is an issuer for a system: its scopes and claims are those that the domains declare.

A scope of ours is a client scope that is tied to a role of the same name: a token has it when it was asked for and its
subject has the role. Keycloak makes up secrets and keys itself, when it imports the realm.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from infra.issuer.people import COMMAND_LINE, CONSOLE
from infra.plan import OPERATOR, Plan

REALM = "headrace"
TOKEN_SECONDS = 900
LOGIN_SECONDS = 12 * 3600
CODE_SECONDS = 600
LOOPBACK = "http://127.0.0.1/callback"
OIDC = {"protocol": "openid-connect"}
# Keycloak brings its own client scopes only where a realm names none, so what we need of them stands here.
COMMON = ("basic", "headrace")
MAY_SEE, MAY_EDIT = ("admin", "user"), ("admin",)
Json = dict[str, Any]


def realm(plan: Plan, audience: str, console: str) -> Json:
    """The realm, as `kc.sh import` and the admin console take it; `console` is where people find the web console."""
    scopes, claims = sorted({*plan.scopes}), sorted({*plan.claims, "tenant"})
    return {
        "realm": REALM,
        "enabled": True,
        "sslRequired": "all",
        "bruteForceProtected": True,
        "accessTokenLifespan": TOKEN_SECONDS,
        "accessCodeLifespan": 60,
        "ssoSessionIdleTimeout": LOGIN_SECONDS,
        "ssoSessionMaxLifespan": LOGIN_SECONDS,
        "revokeRefreshToken": True,
        "refreshTokenMaxReuse": 0,
        "oauth2DeviceCodeLifespan": CODE_SECONDS,
        "oauth2DevicePollingInterval": 5,
        "roles": {"realm": [{"name": scope, "description": f"may have the scope {scope}"} for scope in scopes]},
        "clientScopes": [basic(), ours(audience, claims), *map(client_scope, scopes)],
        "scopeMappings": [{"clientScope": scope, "roles": [scope]} for scope in scopes],
        "clients": [command_line(scopes), web_console(scopes, console), machine(OPERATOR, scopes)],
        "users": [service_account(OPERATOR, scopes)],
        "components": {"org.keycloak.userprofile.UserProfileProvider": [profile(claims)]},
    }


def client_scope(name: str, *mappers: Json) -> Json:
    told = {"include.in.token.scope": str(not mappers).lower(), "display.on.consent.screen": str(not mappers).lower()}
    return {**OIDC, "name": name, "attributes": told, "protocolMappers": list(mappers)}


def basic() -> Json:
    """Who a token is for: the id of a person, which stays when his name changes."""
    return client_scope("basic", mapper("sub", "oidc-sub-mapper", {}))


def ours(audience: str, claims: Iterable[str]) -> Json:
    """Whom a token is shown to, and what it says of a person."""
    told = [
        mapper(claim, "oidc-usermodel-attribute-mapper", {"user.attribute": claim, **claimed(claim)})
        for claim in claims
    ]
    return client_scope(
        "headrace", mapper("audience", "oidc-audience-mapper", {"included.custom.audience": audience}), *told
    )


def mapper(name: str, kind: str, config: Mapping[str, str]) -> Json:
    shown = {"access.token.claim": "true", "id.token.claim": "false", "introspection.token.claim": "true"}
    return {**OIDC, "name": name, "protocolMapper": kind, "config": {**shown, **config}}


def claimed(name: str, **more: str) -> dict[str, str]:
    return {"claim.name": name, "jsonType.label": "String", **more}


def fixed(claim: str, value: str) -> Json:
    return mapper(claim, "oidc-hardcoded-claim-mapper", claimed(claim, **{"claim.value": value}))


def command_line(scopes: Iterable[str]) -> Json:
    """A code that comes back to any port of this machine, or one that is typed in on another device."""
    return people(COMMAND_LINE, scopes, LOOPBACK, {"oauth2.device.authorization.grant.enabled": "true"})


def web_console(scopes: Iterable[str], address: str) -> Json:
    """A code that comes back to the console, and nowhere else."""
    return people(CONSOLE, scopes, f"{address}/callback", {})


def people(name: str, scopes: Iterable[str], back: str, attributes: Mapping[str, str]) -> Json:
    """A public client, with which people log in: a code with PKCE."""
    client = {
        "publicClient": True,
        "standardFlowEnabled": True,
        "redirectUris": [back],
        "defaultClientScopes": [*COMMON],
        "protocolMappers": [fixed("client_id", name)],
    }
    return client_of(name, scopes, client, {"pkce.code.challenge.method": "S256", **attributes})


def machine(name: str, scopes: Iterable[str]) -> Json:
    """A client that acts in its own name, so that its tokens are for itself (RFC 9068, section 2.2)."""
    client = {
        "publicClient": False,
        "standardFlowEnabled": False,
        "serviceAccountsEnabled": True,
        "defaultClientScopes": ["headrace"],
        "protocolMappers": [fixed("client_id", name), fixed("sub", name)],
    }
    return client_of(name, scopes, client, {})


def client_of(name: str, scopes: Iterable[str], client: Json, attributes: Mapping[str, str]) -> Json:
    return {
        **OIDC,
        "clientId": name,
        "enabled": True,
        "fullScopeAllowed": False,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "optionalClientScopes": [*scopes],
        "attributes": {"access.token.header.type.rfc9068": "true", **attributes},
        **client,
    }


def service_account(client: str, scopes: Iterable[str]) -> Json:
    name = f"service-account-{client}"
    return {"username": name, "enabled": True, "serviceAccountClientId": client, "realmRoles": [*scopes]}


def profile(claims: Iterable[str]) -> Json:
    """What is known of people. Nobody edits what his tokens say of him: it decides what is his."""
    own = [{"name": name, "permissions": {"view": MAY_SEE, "edit": MAY_SEE}} for name in ("username", "email")]
    told = [{"name": claim, "permissions": {"view": MAY_SEE, "edit": MAY_EDIT}} for claim in claims]
    return {
        "providerId": "declarative-user-profile",
        "config": {"kc.user.profile.config": [json.dumps({"attributes": [*own, *told]})]},
    }
