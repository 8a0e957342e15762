"""The page on which people log in to the development issuer. It runs no script and loads nothing."""

from collections.abc import Mapping
from html import escape
from string import Template
from urllib.parse import urlencode

from fastapi import Request, Response

from infra.issuer.codes import Asked, Codes, asked
from infra.issuer.grant import fields
from infra.issuer.people import FILE, authenticate
from infra.settings import Settings

KEPT = ("client_id", "redirect_uri", "response_type", "code_challenge", "code_challenge_method", "state", "scope")
PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in to Headrace (development)</title>
<h1>Log in to Headrace</h1>
<p>This is the development issuer. The people whom it knows stand in <code>people.json</code> in its folder.</p>
<p>$scopes</p>
<p><strong>$said</strong></p>
<form method="post" action="authorize">
$kept
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
        return login_page(wanted, form, "No such person, or a wrong password.")
    told = {"code": codes.code(wanted, name, person), "state": wanted.state, "iss": str(settings.oidc_issuer)}
    headers = {"cache-control": "no-store", "location": f"{wanted.redirect_uri}?{urlencode(told)}"}
    return Response(None, 303, headers)


def login_page(asked: Asked, form: Mapping[str, str], said: str = "") -> Response:
    """The form, which carries what was asked for; `said` is why it is shown again."""
    # A browser holds the answer to a form against `form-action` too, so it names where that leads.
    target = asked.redirect_uri.removesuffix("/callback")
    policy = f"default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' {target}"
    headers = {"content-security-policy": policy, "cache-control": "no-store", "referrer-policy": "no-referrer"}
    kept = "\n".join(
        f'<input type="hidden" name="{name}" value="{escape(form[name])}">' for name in KEPT if name in form
    )
    wanted = f"{escape(form['client_id'])} asks for: {escape(' '.join(asked.scopes) or 'all that you have')}"
    text = PAGE.substitute(kept=kept, scopes=wanted, said=escape(said))
    return Response(text, 401 if said else 200, headers, "text/html")
