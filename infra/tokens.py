"""Access tokens of the development issuer, for the command line and for what acts in a person's name."""

import ssl
from base64 import b64encode
from collections.abc import Iterable
from http.client import HTTPException, HTTPSConnection
from urllib.parse import quote, urlencode, urlsplit

import orjson

from infra.errors import InfraError, NotRunning
from infra.settings import Settings

SECONDS = 10
FORM = "application/x-www-form-urlencoded"


def token(client: Settings, scopes: Iterable[str]) -> str:
    """A token for a client (its principal and password). Raises `NotRunning`, or `InfraError` with the refusal."""
    client.need("oidc_issuer")
    answer = asked(client, {"grant_type": "client_credentials", "scope": " ".join(scopes)})
    if "access_token" not in answer:
        raise InfraError(f"the issuer gives no token: {answer.get('error_description') or answer.get('error')}")
    return str(answer["access_token"])


def asked(client: Settings, form: dict[str, str]) -> dict[str, object]:
    issuer = urlsplit(str(client.oidc_issuer))
    secret = b64encode(f"{quote(client.principal)}:{quote(client.password)}".encode()).decode()
    context = ssl.create_default_context(cafile=str(client.ca_file))
    connection = HTTPSConnection(issuer.hostname or "", issuer.port, timeout=SECONDS, context=context)
    try:
        headers = {"authorization": f"Basic {secret}", "content-type": FORM, "accept": "application/json"}
        connection.request("POST", f"{issuer.path}/token", urlencode(form), headers)
        answer: dict[str, object] = orjson.loads(connection.getresponse().read(64 * 1024))
    except (OSError, HTTPException, ValueError) as error:
        raise NotRunning(f"the token issuer does not answer: {error}", "headrace up") from None
    finally:
        connection.close()
    return answer
