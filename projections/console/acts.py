"""What people can do: each act is asked for on a page of its own, confirmed there, and carried out by a service."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response

from domains.admin import REBUILD, VERBS, address
from infra.web import Problem
from projections.console.front import Form, Front, moved
from projections.console.services import Services
from projections.console.sessions import Session
from projections.console.watching import Seen
from projections.errors import ReadUnavailable
from projections.parking import Parked
from projections.plan import CONSOLE_WRITE

SPOTS = 500
HEADINGS = {"retry": "Retry", "skip": "Skip an event", "rebuild": "Rebuild"}
MEANINGS = {
    "retry": "All events that wait are folded in order, with the code that runs now. "
    "If one of them still fails, the key stays parked at it.",
    "skip": "The failing event is left out of this view for good, and the events behind it are folded. "
    "The event itself stays in the log.",
    "rebuild": "The view is folded anew from the event store beside the live one, which goes on; "
    "when it has caught up the two are swapped. The rows of before are kept for a rollback.",
}
CONFIRMATIONS = {
    "retry": "Yes, fold what waits.",
    "skip": "Yes, leave this event out for good.",
    "rebuild": "Yes, fold it anew.",
}
BUTTONS = {"retry": "Retry", "skip": "Skip the event", "rebuild": "Rebuild"}


class Acts:
    verbs = tuple(VERBS)

    def __init__(self, front: Front, services: Services) -> None:
        self._front, self._services = front, services

    def asked(self, verb: str) -> Callable[[Request, Session], Awaitable[Response]]:
        """The page that says what an act would do."""

        async def shows(request: Request, session: Session) -> Response:
            seen = self._front.seen(request)
            spot = None if verb == REBUILD else await spot_of(seen, request.query_params)
            told = {
                "heading": HEADINGS[verb],
                "meaning": MEANINGS[verb],
                "confirm": CONFIRMATIONS[verb],
                "verb": BUTTONS[verb],
                "why": verb == "skip",
                "name": seen.name,
                "spot": spot,
                "may": session.may(CONSOLE_WRITE),
                "to": f"{request.url.path}?{request.url.query}",
            }
            return self._front.html("confirm", told, session)

        return shows

    def done(self, verb: str) -> Callable[[Request, Session, Form], Awaitable[Response]]:
        """The act itself; its outcome is told on the projection's page."""

        async def does(request: Request, session: Session, form: Form) -> Response:
            seen = self._front.seen(request)
            if not session.may(CONSOLE_WRITE):
                raise Problem(403, "insufficient-scope", f"this needs the scope {CONSOLE_WRITE}")
            if form.get("confirmed") != "yes":
                raise Problem(400, "bad-request", "nothing was done: it was not confirmed")
            body: dict[str, object] = {}
            if verb != REBUILD:
                body = {"key": form.get("key", ""), "of_stream": form.get("of_stream") == "true"}
            if verb == "skip":
                # What was seen and confirmed, and nothing that fails since.
                body |= {"why": form.get("why", ""), "position": position_of(form)}
            domain = seen.place.domain
            path = address(domain.name, domain.versions[-1].number, seen.view.name, verb)
            told = await self._services.ask(domain.name, VERBS[verb].side, path, session.granted.token, body)
            session.said = outcome(verb, form.get("key", ""), told)
            return moved(f"/projections/{seen.name}")

        return does


def position_of(form: Form) -> int:
    position = form.get("position", "")
    if not (position.isdecimal() and len(position) < 20):
        raise Problem(400, "bad-request", "nothing was done: the form does not say at which position the event is")
    return int(position)


async def spot_of(seen: Seen, given: Any) -> Parked:
    """What is parked under a name. Raises `Problem` 404 if nothing is."""
    key, of_stream = given.get("key", ""), given.get("of_stream") == "true"
    try:
        found = await seen.place.views.spots(seen.view, SPOTS)
    except ReadUnavailable as error:
        raise Problem(503, "views-unavailable", str(error), headers={"retry-after": "2"}) from None
    for one in found:
        if one.spot == (key, of_stream):
            return one
    raise Problem(404, "not-parked", "nothing is parked under that name, or no longer")


def outcome(verb: str, key: str, told: dict[str, Any]) -> str:
    if verb == REBUILD:
        return "The rebuild has begun."
    if told.get("left"):
        return f"{key}: {told.get('folded')} events were folded; it stays parked: {told.get('error')}"
    begun = "the event was left out, and " if verb == "skip" else ""
    return f"{key}: {begun}{told.get('folded')} events were folded. It is no longer parked."
