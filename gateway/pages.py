"""The pages that the `type` of a problem leads to."""

from html import escape

from infra.web.catalogue import PROBLEMS

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<h1>{title}</h1>
<p>{meaning}</p>
<p><code>/problems/{slug}</code></p>
</html>
"""


def page(slug: str) -> str | None:
    """The page of a problem type, or None if there is no such problem."""
    kind = PROBLEMS.get(slug)
    return PAGE.format(title=escape(kind.title), meaning=escape(kind.meaning), slug=escape(slug)) if kind else None
