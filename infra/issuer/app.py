"""The issuer's addresses."""

from collections.abc import Mapping

import orjson
from fastapi import Request, Response

from infra.errors import SettingsError
from infra.health import Health
from infra.issuer import clients, tokens
from infra.issuer.clients import Clients
from infra.issuer.codes import Codes
from infra.issuer.grant import GrantRefused, fields, grant
from infra.issuer.login import logged_in
from infra.issuer.tokens import Signer
from infra.settings import Settings
from infra.web import Application, application

PERSONAL = ("authorization_code", "refresh_token")
BODY_LIMIT = 8 * 1024
NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}


def issuer(settings: Settings, health: Health) -> Application:
    """The development issuer. Raises `SettingsError` anywhere else than in development."""
    settings.need("oidc_issuer")
    if settings.environment != "development":
        raise SettingsError(
            "the development issuer gives tokens to whoever holds a secret file; it does not start in production",
            "point HEADRACE_OIDC_ISSUER to a real identity provider",
        )
    address = str(settings.oidc_issuer).rstrip("/")
    signer = Signer(str(settings.oidc_issuer), settings.oidc_audience, settings.credentials)
    known, codes = Clients(settings.credentials / clients.FILE), Codes()
    app = application("issuer", settings, health, peers=None, body_limit=BODY_LIMIT)

    async def discovery(_: Request) -> Response:
        return json(
            {
                "issuer": settings.oidc_issuer,
                "token_endpoint": f"{address}/token",
                "jwks_uri": f"{address}/jwks",
                "authorization_endpoint": f"{address}/authorize",
                "grant_types_supported": ["client_credentials", "authorization_code", "refresh_token"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [tokens.ALGORITHM],
            }
        )

    async def jwks(_: Request) -> Response:
        return json(signer.key_set())

    async def token(request: Request) -> Response:
        kind, authorization = request.headers.get("content-type", ""), request.headers.get("authorization")
        try:
            form = fields(kind, await request.body())
            if form.get("grant_type") in PERSONAL and authorization is None:
                return json(personal(codes, signer, form))
            return json(grant(known, signer, authorization, form))
        except GrantRefused as error:
            challenge = {"www-authenticate": 'Basic realm="headrace"'} if error.status == 401 else {}
            return json({"error": error.code, "error_description": error.description}, error.status, challenge)

    async def authorize(request: Request) -> Response:
        try:
            return await logged_in(request, settings, codes)
        except GrantRefused as error:
            return json({"error": error.code, "error_description": error.description}, error.status)

    app.add_route("/authorize", authorize, methods=["GET", "POST"])
    app.add_route("/.well-known/openid-configuration", discovery, methods=["GET"])
    app.add_route("/jwks", jwks, methods=["GET"])
    app.add_route("/token", token, methods=["POST"])
    return app


def personal(codes: Codes, signer: Signer, form: Mapping[str, str]) -> Mapping[str, object]:
    """The answer to who shows a code or a refresh token. Raises `GrantRefused`."""
    login = codes.redeem(form) if form["grant_type"] == "authorization_code" else codes.renew(form)
    return {
        "access_token": signer.token(login.client, login.scopes, login.name, **login.person.claims),
        "token_type": "Bearer",
        "expires_in": tokens.LIFETIME_SECONDS,
        "scope": " ".join(login.scopes),
        "refresh_token": codes.refresh_token(login),
    }


def json(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, {**NO_STORE, **(headers or {})}, "application/json")
