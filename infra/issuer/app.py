"""The issuer's addresses."""

from collections.abc import Awaitable, Callable, Mapping

import orjson
from fastapi import Request, Response

from infra.device import GRANT
from infra.errors import SettingsError
from infra.health import Health
from infra.issuer import clients, tokens
from infra.issuer.clients import Clients
from infra.issuer.codes import Codes
from infra.issuer.devices import HELD_SECONDS, Devices
from infra.issuer.grant import GrantRefused, fields, grant
from infra.issuer.login import device_logged_in, logged_in
from infra.issuer.tokens import Signer
from infra.settings import Settings
from infra.web import Application, application

PERSONAL = ("authorization_code", "refresh_token", GRANT)
BODY_LIMIT = 8 * 1024
Endpoint = Callable[[Request], Awaitable[Response]]
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
    known, codes, devices = Clients(settings.credentials / clients.FILE), Codes(), Devices()
    app = application("issuer", settings, health, peers=None, body_limit=BODY_LIMIT)

    async def discovery(_: Request) -> Response:
        return json(
            {
                "issuer": settings.oidc_issuer,
                "token_endpoint": f"{address}/token",
                "jwks_uri": f"{address}/jwks",
                "authorization_endpoint": f"{address}/authorize",
                "device_authorization_endpoint": f"{address}/device_authorization",
                "grant_types_supported": ["client_credentials", *PERSONAL],
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
        authorization = request.headers.get("authorization")
        form = fields(request.headers.get("content-type", ""), await request.body())
        if form.get("grant_type") in PERSONAL and authorization is None:
            return json(personal(codes, devices, signer, form))
        return json(grant(known, signer, authorization, form))

    async def authorize(request: Request) -> Response:
        return await logged_in(request, settings, codes)

    async def device(request: Request) -> Response:
        return await device_logged_in(request, settings, devices)

    async def device_authorization(request: Request) -> Response:
        form = fields(request.headers.get("content-type", ""), await request.body())
        secret, waiting = devices.begin(form)
        return json(
            {
                "device_code": secret,
                "user_code": waiting.user_code,
                "verification_uri": f"{address}/device",
                "verification_uri_complete": f"{address}/device?user_code={waiting.user_code}",
                "expires_in": HELD_SECONDS,
                "interval": round(waiting.interval),
            }
        )

    app.add_route("/authorize", refusing(authorize), methods=["GET", "POST"])
    app.add_route("/device", refusing(device), methods=["GET", "POST"])
    app.add_route("/device_authorization", refusing(device_authorization), methods=["POST"])
    app.add_route("/.well-known/openid-configuration", discovery, methods=["GET"])
    app.add_route("/jwks", jwks, methods=["GET"])
    app.add_route("/token", refusing(token), methods=["POST"])
    return app


def refusing(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose refusals are answered as the standard says."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except GrantRefused as error:
            challenge = {"www-authenticate": 'Basic realm="headrace"'} if error.status == 401 else {}
            return json({"error": error.code, "error_description": error.description}, error.status, challenge)

    return answer


def personal(codes: Codes, devices: Devices, signer: Signer, form: Mapping[str, str]) -> Mapping[str, object]:
    """The answer to who shows a code, a refresh token or the secret of a device. Raises `GrantRefused`."""
    redeem = {"authorization_code": codes.redeem, "refresh_token": codes.renew, GRANT: devices.redeem}
    login = redeem[form["grant_type"]](form)
    return {
        "access_token": signer.token(login.client, login.scopes, login.name, **login.person.claims),
        "token_type": "Bearer",
        "expires_in": tokens.LIFETIME_SECONDS,
        "scope": " ".join(login.scopes),
        "refresh_token": codes.refresh_token(login),
    }


def json(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, {**NO_STORE, **(headers or {})}, "application/json")
