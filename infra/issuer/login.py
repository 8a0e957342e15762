"""The pages on which people log in to the development issuer. They run no script and load nothing."""

from collections.abc import Mapping
from html import escape
from string import Template
from urllib.parse import urlencode

from fastapi import Request, Response

from infra.issuer.codes import Asked, Codes, asked
from infra.issuer.devices import Devices
from infra.issuer.grant import fields
from infra.issuer.people import FILE, authenticate
from infra.settings import Settings

KEPT = ("client_id", "redirect_uri", "response_type", "code_challenge", "code_challenge_method", "state", "scope")
HEADERS = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
ALL, NOBODY = "all that you have", "No such person, or a wrong password."
PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in to Headrace (development)</title>
<h1>Log in to Headrace</h1>
<p>This is the development issuer. The people whom it knows stand in <code>people.json</code> in its folder.</p>
<p>$wanted</p>
<p><strong>$said</strong></p>
<form method="post" action="$action">
$fields
<p><label>Name <input name="name" autocomplete="username" required autofocus></label></p>
<p><label>Password <input name="password" type="password" autocomplete="current-password" required></label></p>
<p><button>Log in</button></p>
</form>
</html>
""")


async def logged_in(request: Request, settings: Settings, codes: Codes) -> Response:
    """The page, or with the right name and password the way back with a code. Raises `GrantRefused`."""
    if request.method == "GET":
        form: Mapping[str, str] = dict(request.query_params)
        return login_page(asked(form), form)
    form = fields(request.headers.get("content-type", ""), await request.body())
    wanted, name = asked(form), form.get("name", "")
    person = authenticate(settings.credentials / FILE, name, form.get("password", ""))
    if person is None:
        return login_page(wanted, form, NOBODY)
    told = {"code": codes.code(wanted, name, person), "state": wanted.state, "iss": str(settings.oidc_issuer)}
    headers = {"cache-control": "no-store", "location": f"{wanted.redirect_uri}?{urlencode(told)}"}
    return Response(None, 303, headers)


async def device_logged_in(request: Request, settings: Settings, devices: Devices) -> Response:
    """The page on which a code is typed in, or that all went well. Raises `GrantRefused`."""
    if request.method == "GET":
        return device_page(request.query_params.get("user_code", ""))
    form = fields(request.headers.get("content-type", ""), await request.body())
    code, name = form.get("user_code", ""), form.get("name", "")
    person = authenticate(settings.credentials / FILE, name, form.get("password", ""))
    waiting = devices.asked(code)
    if person is None or waiting is None:
        return device_page(code, NOBODY if person is None else "Nobody waits for this code.")
    devices.approve(waiting, name, person)
    return Response("You are logged in. Go back to where you came from.", 200, HEADERS, "text/plain")


def login_page(asked: Asked, form: Mapping[str, str], said: str = "") -> Response:
    """The form, which carries what was asked for; `said` is why it is shown again."""
    kept = "\n".join(
        f'<input type="hidden" name="{name}" value="{escape(form[name])}">' for name in KEPT if name in form
    )
    wanted = f"{form['client_id']} asks for: {' '.join(asked.scopes) or ALL}"
    # A browser holds the answer to a form against `form-action` too, so it names where that leads.
    return page("authorize", wanted, kept, said, asked.redirect_uri.removesuffix("/callback"))


def device_page(code: str, said: str = "") -> Response:
    field = f'<input name="user_code" value="{escape(code)}" autocomplete="off" required>'
    wanted = "Log in only if a program of yours shows you this code just now."
    return page("device", wanted, f"<p><label>Code {field}</label></p>", said)


def page(action: str, wanted: str, fields: str, said: str, target: str = "") -> Response:
    policy = f"default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' {target}"
    text = PAGE.substitute(action=action, wanted=escape(wanted), fields=fields, said=escape(said))
    return Response(text, 401 if said else 200, HEADERS | {"content-security-policy": policy}, "text/html")
