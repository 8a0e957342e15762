"""Pages that show: all projections, one of them, streams; and what they hear while they are open."""

from collections.abc import AsyncGenerator, Mapping

from fastapi import Request, Response

from domains.kernel import Domain
from eventstore.errors import EventStoreError, InvalidEvent
from eventstore.records import RecordedEvent
from infra.web import Problem
from projections.console import feeds
from projections.console.front import Front
from projections.console.sessions import Session
from projections.console.watching import Place, Watch
from projections.errors import ReadUnavailable

PAGE = 50
LONGEST_NAME = 300
AGAIN = {"retry-after": "2"}


class Reading:
    def __init__(self, front: Front, places: Mapping[str, Place], watch: Watch) -> None:
        self._front, self._places, self._watch = front, places, watch

    async def board(self, _: Request, session: Session) -> Response:
        return self._front.html("projections", {"all": list(self._watch.seen.values())}, session)

    def board_live(self, _: Request, until: float) -> AsyncGenerator[bytes, None]:
        return feeds.board(self._front.pages, self._watch.seen, until)

    async def projection(self, request: Request, session: Session) -> Response:
        seen = self._front.seen(request)
        try:
            found = await seen.place.views.spots(seen.view, feeds.SPOTS)
        except ReadUnavailable as error:
            raise Problem(503, "views-unavailable", f"the views can't be read now: {error}", headers=AGAIN) from None
        return self._front.html("projection", {"seen": seen, "found": found, "most": feeds.SPOTS}, session)

    def projection_live(self, request: Request, until: float) -> AsyncGenerator[bytes, None]:
        return feeds.projection(self._front.pages, self._front.seen(request), until)

    async def streams(self, request: Request, session: Session) -> Response:
        name, before = request.query_params.get("name", "").strip(), below(request)
        example = next((place.domain.stream("536365") for place in self._places.values()), "")
        try:
            events = await self._stream(name, before) if name else await feeds.latest(self._places)
        except EventStoreError as error:
            raise Problem(503, "store-unavailable", f"the events can't be read now: {error}", headers=AGAIN) from None
        more = name and len(events) == PAGE and events[-1].version > 1
        told = {"name": name, "example": example, "events": events, "before": events[-1].version if more else None}
        return self._front.html("streams", {"here": "streams", **told}, session)

    def streams_live(self, _: Request, until: float) -> AsyncGenerator[bytes, None]:
        return feeds.timeline(self._front.pages, self._places, until)

    async def _stream(self, name: str, before: int | None) -> list[RecordedEvent]:
        """A page of a stream's events, the newest first. Raises `EventStoreError`."""
        place = self._places.get(domain_of(name, [place.domain for place in self._places.values()]))
        if place is None or len(name) > LONGEST_NAME or not name.isprintable():
            raise Problem(404, "unknown-stream", "there is no stream of that name")
        until = before - 1 if before is not None else None
        try:
            found = await place.store.read_stream(name, until=until, backward=True, limit=PAGE)
        except InvalidEvent:
            found = ()  # nothing can have been recorded under such a name
        if not found and before is None:
            raise Problem(404, "unknown-stream", "there is no stream of that name")
        return list(found)


def domain_of(stream: str, domains: list[Domain]) -> str:
    """The name of the domain that a stream's name begins with; the longest, since names may hold hyphens."""
    names = [domain.name for domain in domains if stream.startswith(domain.stream(""))]
    return max(names, key=len, default="")


def below(request: Request) -> int | None:
    given = request.query_params.get("before")
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or not 1 < int(given[:16]) < 2**53 or len(given) > 16:
        raise Problem(422, "invalid-parameter", "before is the version of an event")
    return int(given)
