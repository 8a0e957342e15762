"""The issuer's addresses."""

import orjson
from fastapi import Request, Response

from infra.errors import SettingsError
from infra.health import Health
from infra.issuer import clients, tokens
from infra.issuer.clients import Clients
from infra.issuer.grant import GrantRefused, grant
from infra.issuer.tokens import Signer
from infra.settings import Settings
from infra.web import Application, application

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
    known = Clients(settings.credentials / clients.FILE)
    app = application("issuer", settings, health, peers=None, body_limit=BODY_LIMIT)

    async def discovery(_: Request) -> Response:
        return json(
            {
                "issuer": settings.oidc_issuer,
                "token_endpoint": f"{address}/token",
                "jwks_uri": f"{address}/jwks",
                "grant_types_supported": ["client_credentials"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "response_types_supported": [],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [tokens.ALGORITHM],
            }
        )

    async def jwks(_: Request) -> Response:
        return json(signer.key_set())

    async def token(request: Request) -> Response:
        kind, authorization = request.headers.get("content-type", ""), request.headers.get("authorization")
        try:
            return json(grant(known, signer, kind, authorization, await request.body()))
        except GrantRefused as error:
            challenge = {"www-authenticate": 'Basic realm="headrace"'} if error.status == 401 else {}
            return json({"error": error.code, "error_description": error.description}, error.status, challenge)

    app.add_route("/.well-known/openid-configuration", discovery, methods=["GET"])
    app.add_route("/jwks", jwks, methods=["GET"])
    app.add_route("/token", token, methods=["POST"])
    return app


def json(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, {**NO_STORE, **(headers or {})}, "application/json")
