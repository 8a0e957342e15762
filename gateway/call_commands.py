"""headrace call: any command, view, overview or operation, as it is declared"""

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
from gateway.routes import EVENTS, FIRST, OPERATION, OPERATIONS
from gateway.versions import served
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
    domain: Annotated[
        str, typer.Argument(help="For example orders; or what an overview is of, like customers; or `operations`.")
    ],
    what: Annotated[str, typer.Argument(help="A command, a view, `events`, an overview; or an operation's id.")],
    id: Annotated[str | None, typer.Argument(help="The aggregate, or the key of a row; without one, a list.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="The command's body as JSON; - is stdin.")] = None,
    where: Annotated[list[str] | None, typer.Option("--where", help="A filter of a list, like country=Norway.")] = None,
    version: Annotated[int | None, typer.Option("--api", help="The version of the address; the newest.")] = None,
    if_match: Annotated[int | None, typer.Option(help="The version that the stream must have.")] = None,
    key: Annotated[str | None, typer.Option(help="An idempotency key, to repeat this safely.")] = None,
    later: Annotated[bool, typer.Option("--later", help="Get an operation, to ask for later; with --key.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A refusal is JSON on stdout, too.")] = False,
) -> None:
    """Send a command; ask a view, for an overview, or what became of an operation.

    In your name after `headrace login`, else in the operator's: `headrace call orders order-details 536365`,
    `headrace call customers overview 17850`, `headrace call operations <id>`.

    The answer is printed as it came. Exit 3: there is none; 4: refused; 75: try again.
    """
    domains = discover()
    check(what, id, key, *(where or ()))
    path = address(domains, domain, what, id, version) + query(where or ())
    acts = domain in domains and what in domains[domain].commands
    if later and (key is None or not acts):
        raise fail("--later is for a command, with a --key", Exit.USAGE)
    if file is not None and not acts:
        raise fail("only a command has a body", Exit.USAGE)
    body = sent(file) if acts else None
    # An empty key or a version 0 is not taken for none: whoever asked for a condition must not act without it.
    given = {"if-match": if_match, "idempotency-key": key}
    with clear_errors():
        headers = {name: f'"{value}"' for name, value in given.items() if value is not None}
        headers |= {"prefer": "respond-async"} if later else {}
        status, answer = exchange(here(), path, body, headers)
    if status < 400 or as_json:
        out.print(answer, markup=False)
    if status >= 400:
        raise refused(status, answer)


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


def address(domains: Mapping[str, Domain], of: str, what: str, id: str | None, version: int | None) -> str:
    """The address of what is asked. Raises `typer.Exit` for what is not declared."""
    domain, overviews = domains.get(of), [one for one in served(domains) if one.composition.things == of]
    views = [view.name for view in domain.views] if domain else []
    known = [*domain.commands, *views, EVENTS] if domain else []
    if of == OPERATIONS:
        if id is not None:
            raise fail("an operation has one id", Exit.USAGE)
        return OPERATION.format(id=quote(what, safe="")).replace(FIRST, numbered(of, {1}, version), 1)
    if not known and not overviews:
        things = (one.composition.things for one in served(domains))
        raise fail(
            f"there is no domain {of}: {', '.join(dict.fromkeys((*domains, *things, OPERATIONS)))}", Exit.NOT_FOUND
        )
    numbers = {one.version.number for one in overviews if one.composition.name == what}
    if domain and what in known:
        # What a domain calls its own comes before what others compose.
        numbers = {one.number for one in domain.versions}
    if not numbers:
        known += dict.fromkeys(one.composition.name for one in overviews)
        raise fail(f"{of} has no {what}: {', '.join(known)}", Exit.NOT_FOUND)
    base = f"/{numbered(of, numbers, version)}/{of}"
    if what in views:
        return f"{base}/{what}/{quote(id, safe='')}" if id is not None else f"{base}/{what}"
    if id is None:
        raise fail(f"{what} needs the id of what it is about", Exit.USAGE)
    return f"{base}/{quote(id, safe='')}/{what}"


def numbered(of: str, numbers: set[int], version: int | None) -> str:
    """The version that is asked for, or the newest. Raises `typer.Exit` if there is none."""
    number = max(numbers) if version is None else version
    if number not in numbers:
        raise fail(f"{of} has no version {number}", Exit.NOT_FOUND)
    return f"v{number}"


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
