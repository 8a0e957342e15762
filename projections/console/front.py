"""Who is let in at the console, and how answers look, errors included."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from urllib.parse import parse_qsl, quote, urlsplit

from fastapi import Request, Response

from infra.web import Problem
from infra.web.context import current
from infra.web.events import EventStream
from projections.console.login import Login
from projections.console.pages import Pages
from projections.console.sessions import (
    COOKIE,
    FLOW,
    FLOW_SECONDS,
    LONGEST_SECONDS,
    Session,
    Sessions,
    check_form,
    give,
    take,
)
from projections.console.watching import Seen, Watch
from projections.plan import CONSOLE_READ, CONSOLE_WRITE

MOST_FIELDS = 20
LONGEST_WAY = 2000  # where a login leads lies in a cookie, of which browsers take no more than 4,096 bytes
STREAMS = 100
# Nothing but our own files, no inline script or style, and no foreign page around ours.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
NO_STORE = {"cache-control": "no-store"}
HTML = "text/html; charset=utf-8"

Form = Mapping[str, str]
Shows = Callable[[Request, Session], Awaitable[Response]]
Does = Callable[[Request, Session, Form], Awaitable[Response]]


class Front:
    """Who may see and do what: everything but the login itself needs somebody who is logged in and may watch."""

    def __init__(self, address: str, sessions: Sessions, login: Login, pages: Pages, watch: Watch) -> None:
        self._address, self._sessions, self._login, self.pages, self._watch = address, sessions, login, pages, watch
        self._host = urlsplit(address).netloc
        self._open = 0

    def html(
        self, name: str, told: Mapping[str, object], session: Session | None = None, status: int = 200
    ) -> Response:
        said = session.told() if session is not None else None
        text = self.pages.page(name, {"here": "projections", **told, "session": session, "said": said})
        return Response(text, status, HEADERS | NO_STORE, HTML)

    def anybody(self, shows: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Errors become pages, and a request for another host is none for us."""

        async def endpoint(request: Request) -> Response:
            try:
                if request.headers.get("host") != self._host:
                    raise Problem(421, "bad-request", f"this is {self._host}")
                return await shows(request)
            except Problem as problem:
                answer = self.html("message", message(problem.title, problem.detail), status=problem.status_code)
                answer.headers.update(problem.headers or {})
                return answer

        return endpoint

    def shown(self, shows: Shows) -> Callable[[Request], Awaitable[Response]]:
        """A page; who is not logged in gets to it by way of the login."""

        async def endpoint(request: Request) -> Response:
            session = await self._session(request)
            if session is None:
                to = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return moved(f"/login?to={quote(to, safe='')}")
            return await shows(request, session)

        return self.anybody(endpoint)

    def done(self, does: Does) -> Callable[[Request], Awaitable[Response]]:
        """An act: from a page of ours, confirmed, by somebody who may."""

        async def endpoint(request: Request) -> Response:
            session = await self._session(request)
            if session is None:
                raise Problem(401, "not-logged-in", "log in, and try again")
            form = fields(await request.body())
            check_form(request, form, session, self._address)
            return await does(request, session, form)

        return self.anybody(endpoint)

    def told(
        self, tells: Callable[[Request, float], AsyncGenerator[bytes, None]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """A stream of server-sent events, as long as the login allows it."""

        async def endpoint(request: Request) -> Response:
            session = await self._session(request)
            if session is None:
                raise Problem(401, "not-logged-in", "log in, and open the page again")
            events = tells(request, session.granted.identity.expires_at)
            if self._open >= STREAMS:
                raise Problem(
                    503, "temporary-reduced-capacity", "too many pages are open", headers={"retry-after": "5"}
                )
            self._open += 1
            request.scope["endless"] = True
            return EventStream(self._while_logged_in(request, events), HEADERS, self._closed)

        return self.anybody(endpoint)

    async def _while_logged_in(
        self, request: Request, events: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """What is told, until its session has ended: who logs out leaves no other page behind that goes on to hear."""
        async with aclosing(events):
            async for told in events:
                if self._sessions.find(request) is None:
                    return
                yield told

    def seen(self, request: Request) -> Seen:
        named = request.path_params["domain"], request.path_params["view"]
        if (found := self._watch.seen.get(named)) is None:
            raise Problem(404, "unknown-view", "there is no projection of that name")
        return found

    async def begin(self, request: Request) -> Response:
        to = request.query_params.get("to", "/")
        scopes = (CONSOLE_READ, CONSOLE_WRITE) if request.query_params.get("act") == "yes" else (CONSOLE_READ,)
        address, kept = await self._login.begin(scopes, to if here(to) else "/")
        return give(moved(address), FLOW, kept, FLOW_SECONDS)

    async def back(self, request: Request) -> Response:
        granted, to = await self._login.finish(dict(request.query_params), request.cookies.get(FLOW, ""))
        if CONSOLE_READ not in granted.identity.scopes:
            raise Problem(
                403, "insufficient-scope", f"{granted.identity.subject} may not watch: {CONSOLE_READ} is needed"
            )
        self._sessions.end(request)
        answer = take(moved(to if here(to) else "/"), FLOW)
        return give(answer, COOKIE, self._sessions.begin(granted), LONGEST_SECONDS)

    async def log_out(self, request: Request, _: Session, __: Form) -> Response:
        self._sessions.end(request)
        said = message("Logged out", "This browser is no longer logged in.", "Log in")
        return take(self.html("message", said), COOKIE)

    async def _session(self, request: Request) -> Session | None:
        session = self._sessions.find(request)
        if session is None:
            return None
        try:
            await self._login.renew(session)
        except Problem as problem:
            if problem.status_code == 401:
                self._sessions.end(request)
                return None
            raise
        if not session.may(CONSOLE_READ):
            raise Problem(403, "insufficient-scope", f"this needs the scope {CONSOLE_READ}")
        return session

    def _closed(self) -> None:
        self._open -= 1


def message(heading: str, detail: str, label: str = "Back") -> dict[str, object]:
    return {"heading": heading, "detail": detail, "label": label, "request_id": current().request_id}


def moved(address: str) -> Response:
    return Response(None, 303, HEADERS | NO_STORE | {"location": address})


def here(to: str) -> bool:
    """Whether an address is a page of ours, and fits into a header: what others write there leads nowhere else."""
    ours = to.startswith("/") and not to.startswith(("//", "/\\")) and to.isascii() and to.isprintable()
    return ours and len(quote(to)) <= LONGEST_WAY


def fields(body: bytes) -> Form:
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise Problem(400, "bad-request", "the body is not a form") from None
