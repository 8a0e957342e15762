"""The pages that the `type` of a problem leads to."""

from html import escape

from fastapi import Request, Response

from gateway.kept import CACHED
from infra.web import Application, Problem
from infra.web.catalogue import PROBLEMS

HEADERS = {**CACHED, "content-security-policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"}
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<h1>{title}</h1>
<p>{meaning}</p>
<p><code>/problems/{slug}</code></p>
</html>
"""


def add(app: Application) -> None:
    """Adds `/problems/<slug>`."""

    async def problems(request: Request) -> Response:
        text = page(request.path_params["slug"])
        if text is None:
            raise Problem(404, "not-found", "there is no problem of this name")
        return Response(text, headers=HEADERS, media_type="text/html; charset=utf-8")

    app.add_route("/problems/{slug}", problems, methods=["GET"])


def page(slug: str) -> str | None:
    """The page of a problem type, or None if there is no such problem."""
    kind = PROBLEMS.get(slug)
    return PAGE.format(title=escape(kind.title), meaning=escape(kind.meaning), slug=escape(slug)) if kind else None
