"""The page on which people read the documents: Swagger UI from an installed package, without a foreign address."""

import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template

import orjson
from fastapi import Request, Response

from gateway.documents import WHOLE
from gateway.kept import CACHED, Kept
from infra.web import Application, Problem

# Nothing but our own scripts and styles, and no inline ones.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {**CACHED, "content-security-policy": POLICY, "referrer-policy": "no-referrer"}
KINDS = {"js": "text/javascript", "css": "text/css", "png": "image/png"}
VENDOR = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
REFERENCE = re.compile(r'/schemas/([^"]+)"')
STATIC = files("gateway") / "static"
OWN = ("start.js", "docs.css")


def add(app: Application, documents: Mapping[str, bytes]) -> None:
    """Adds `/docs`, a page for each document, and what they are made of."""
    found = {name: (files("fastapi_offline") / "static" / name).read_bytes() for name in VENDOR}
    found |= {name: (STATIC / name).read_bytes() for name in OWN}
    assets = {name: Kept(body, KINDS[name.rpartition(".")[2]], HEADERS) for name, body in found.items()}
    pages = {name: Kept(page(name, documents).encode(), "text/html", HEADERS) for name in documents}

    async def shown(request: Request) -> Response:
        found = pages.get(request.path_params.get("name", WHOLE))
        if found is None:
            raise Problem(404, "not-found", "there is no document of this name")
        return await found.answer(request)

    async def asset(request: Request) -> Response:
        name = request.path_params["asset"]
        if name not in assets:
            raise Problem(404, "not-found", "there is nothing at this address")
        return await assets[name].answer(request)

    app.add_route("/docs", shown, methods=["GET"])
    app.add_route("/docs/assets/{asset}", asset, methods=["GET"])
    app.add_route("/docs/{name}", shown, methods=["GET"])


def page(name: str, documents: Mapping[str, bytes]) -> str:
    links = " ".join(
        f'<a href="/docs/{one}"{" aria-current=page" if one == name else ""}>{one}</a>' for one in sorted(documents)
    )
    return Template((STATIC / "docs.html").read_text(encoding="utf-8")).substitute(
        name=name, links=links, body=body(name, documents[name])
    )


def body(name: str, document: bytes) -> str:
    """Where Swagger UI shows an OpenAPI document; an AsyncAPI document is short enough to be written out."""
    if name.startswith(WHOLE):
        return f'<div id="shown" data-document="/documents/{name}.json"></div>'
    found = orjson.loads(document)
    return "\n".join(channel(one, found["components"]) for one in found["channels"].values())


def channel(one: Mapping[str, Mapping[str, object]], components: Mapping[str, Mapping[str, object]]) -> str:
    messages = "\n".join(message(components["messages"][name], components) for name in one["messages"])
    return (
        f"<section><h2>{escape(str(one['address']))}</h2><p>{escape(str(one['description']))}</p>{messages}</section>"
    )


def message(one: object, components: Mapping[str, Mapping[str, object]]) -> str:
    assert isinstance(one, dict)  # noqa: S101  # we made it
    named = REFERENCE.findall(orjson.dumps([one.get("headers"), one["payload"]]).decode())
    # The envelopes, which all domains share, are left out where there is something in them.
    shapes = "".join(written(components["schemas"][name]) for name in [name for name in named if "." in name] or named)
    told = "".join(f"<p>For example:</p>{written(each['payload'])}" for each in one.get("examples", ()))
    title = f"<summary><code>{escape(one['name'])}</code> {escape(one['summary'])}</summary>"
    key = escape(one["bindings"]["kafka"]["key"]["description"])
    return f"<details>{title}<p>Key: {key}.</p>{shapes}{told}</details>"


def written(value: object) -> str:
    return f"<pre>{escape(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())}</pre>"
