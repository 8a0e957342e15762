"""headrace call: any command or view, as it is declared"""

import json
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from ssl import create_default_context
from typing import Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

import typer

from domains.discovery import discover
from domains.kernel import Domain
from gateway.routes import EVENTS
from infra import tokens
from infra.console import Exit, clear_errors, err, fail, out
from infra.errors import NotRunning
from infra.login import Login
from infra.native import Native, here
from infra.plan import OPERATOR

app = typer.Typer()

SECONDS = 35
LARGEST = 64 * 1024 * 1024
CODES = {
    **dict.fromkeys((400, 415, 422, 428), Exit.USAGE),
    404: Exit.NOT_FOUND,
    **dict.fromkeys((409, 412), Exit.CONFLICT),
    **dict.fromkeys((429, 502, 503, 504), Exit.TRY_AGAIN),
}


@app.command("call")
def call(  # noqa: PLR0917  # typer takes arguments by name
    domain: Annotated[str, typer.Argument(help="For example orders.")],
    what: Annotated[str, typer.Argument(help="A command, a view, or `events`.")],
    id: Annotated[str | None, typer.Argument(help="The aggregate, or the key of a row; without one, a list.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="The command's body as JSON; - is stdin.")] = None,
    where: Annotated[list[str] | None, typer.Option("--where", help="A filter of a list, like country=Norway.")] = None,
    version: Annotated[int | None, typer.Option("--api", help="The version of the address; the newest.")] = None,
    if_match: Annotated[int | None, typer.Option(help="The version that the stream must have.")] = None,
    key: Annotated[str | None, typer.Option(help="An idempotency key, to repeat this safely.")] = None,
) -> None:
    """Send a command, or ask a view. In your name after `headrace login`, else in the operator's.

    The answer is printed as it came. Exit 3: there is none; 4: refused; 75: try again.
    """
    declared = discover().get(domain)
    if declared is None:
        raise fail(f"there is no domain {domain}: {', '.join(discover())}", Exit.NOT_FOUND)
    check(id, key, *(where or ()))
    path = address(declared, what, id, version) + query(where or ())
    body = sent(file) if what in declared.commands else None
    # An empty key or a version 0 is not taken for none: whoever asked for a condition must not act without it.
    given = {"if-match": if_match, "idempotency-key": key}
    with clear_errors():
        headers = {name: f'"{value}"' for name, value in given.items() if value is not None}
        status, answer = exchange(here(), path, body, headers)
    if status >= 400:
        raise refused(status, answer)
    out.print(answer, markup=False)


def check(*given: str | None) -> None:
    """Raises `typer.Exit` for what can stand in no address and no header."""
    for text in given:
        if text is not None and not text.isprintable():
            raise fail(f"{text!r} has characters that can't be sent", Exit.USAGE)


def query(where: Sequence[str]) -> str:
    """The filters of a list. Raises `typer.Exit` for what is none: without it the list would be another."""
    pairs = [one.partition("=") for one in where]
    for name, sign, _ in pairs:
        if not sign:
            raise fail(f"{name} is no filter: --where name=value", Exit.USAGE)
    return f"?{urlencode([(name, value) for name, _, value in pairs])}" if pairs else ""


def address(domain: Domain, what: str, id: str | None, version: int | None) -> str:
    """The address of a command, view or stream. Raises `typer.Exit` for what is not declared."""
    number = version or domain.versions[-1].number
    if domain.version(number) is None:
        raise fail(f"{domain.name} has no version {number}", Exit.NOT_FOUND)
    base = f"/v{number}/{domain.name}"
    if domain.view(what) is not None:
        return f"{base}/{what}/{quote(id, safe='')}" if id is not None else f"{base}/{what}"
    if what not in (*domain.commands, EVENTS):
        known = ", ".join((*domain.commands, *(view.name for view in domain.views), EVENTS))
        raise fail(f"{domain.name} has no {what}: {known}", Exit.NOT_FOUND)
    if id is None:
        raise fail(f"{what} needs the id of what it is about", Exit.USAGE)
    return f"{base}/{quote(id, safe='')}/{what}"


def sent(file: Path | None) -> bytes:
    if file is None:
        raise fail("a command needs its body: -f order.json", Exit.USAGE)
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise fail(f"{file} can't be read: {error.strerror}", Exit.USAGE) from None


def exchange(system: Native, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, str]:
    """Status and body of the gateway's answer. Raises `NotRunning`."""
    operator = system.settings(OPERATOR)
    token = Login(str(operator.oidc_issuer), system.ca_file, system.folder).token()
    bearer = {"authorization": f"Bearer {token or tokens.token(operator, system.plan.scopes)}"}
    parts = urlsplit(str(system.status_json()["gateway_url"]))
    context = create_default_context(cafile=str(system.ca_file))
    connection = HTTPSConnection(parts.hostname or "", parts.port, timeout=SECONDS, context=context)
    try:
        kind = {"content-type": "application/json"} if body is not None else {}
        told = {name: value.encode() for name, value in {**kind, **headers, **bearer}.items()}
        connection.request("GET" if body is None else "POST", path, body, told)
        answer = connection.getresponse()
        return answer.status, answer.read(LARGEST).decode()
    except (OSError, HTTPException, UnicodeDecodeError) as error:
        raise NotRunning(f"the gateway does not answer: {error}", "headrace up") from None
    finally:
        connection.close()


def refused(status: int, answer: str) -> typer.Exit:
    """Says what a problem says."""
    try:
        problem: dict[str, Any] = json.loads(answer)
    except ValueError:
        problem = {"title": answer[:200]}
    code = f" ({problem['code']})" if "code" in problem else ""
    for fault in problem.get("errors", []):
        err.print(f"  {fault['field']}: {fault['detail']}", markup=False)
    said = f"{problem.get('title')}{code}: {problem.get('detail', '')} [request {problem.get('request_id')}]"
    return fail(said, CODES.get(status, Exit.FAILURE))
