"""The console's addresses."""

from collections.abc import Awaitable, Callable

from fastapi import Request, Response

from infra.health import Health
from infra.settings import Settings
from infra.web import Application, Problem, application
from projections.console.acts import Acts
from projections.console.assets import KINDS
from projections.console.front import HEADERS, Front
from projections.console.reading import Reading
from projections.console.sessions import Session

BODY_LIMIT = 16 * 1024
CACHED = {"cache-control": "public, max-age=300"}


def console(settings: Settings, health: Health, front: Front, reading: Reading, acts: Acts) -> Application:
    """The console's application; anybody may knock."""
    app = application("console", settings, health, peers=None, body_limit=BODY_LIMIT)

    async def asset(request: Request) -> Response:
        if (content := front.pages.files.get(name := request.path_params["name"])) is None:
            raise Problem(404, "not-found", "there is nothing at this address")
        return Response(content, 200, HEADERS | CACHED, KINDS[name.rpartition(".")[2]])

    async def nowhere(_: Request, __: Session) -> Response:
        raise Problem(404, "not-found", "there is nothing at this address")

    def get(path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        app.add_route(path, endpoint, methods=["GET"])

    get("/assets/{name}", front.anybody(asset))
    get("/login", front.anybody(front.begin))
    get("/callback", front.anybody(front.back))
    get("/", front.shown(reading.board))
    get("/live", front.told(reading.board_live))
    get("/streams", front.shown(reading.streams))
    get("/streams/live", front.told(reading.streams_live))
    base = "/projections/{domain}/{view}"
    get(base, front.shown(reading.projection))
    get(f"{base}/live", front.told(reading.projection_live))
    for verb in acts.verbs:
        get(f"{base}/{verb}", front.shown(acts.asked(verb)))
        app.add_route(f"{base}/{verb}", front.done(acts.done(verb)), methods=["POST"])
    app.add_route("/logout", front.done(front.log_out), methods=["POST"])
    get("/{path:path}", front.shown(nowhere))
    return app
