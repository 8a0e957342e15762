"""Rebuilds that people ask for over HTTP: one at a time, in the background; how far they are stands in the database."""

import asyncio
import logging

import orjson
from fastapi import Request, Response

from domains.admin import REBUILD, Rebuilding
from domains.errors import UnreadableEvent
from domains.kernel import Domain
from domains.plan import events_database
from eventstore.errors import EventStoreError
from eventstore.postgres import PostgresStore
from infra.health import Health
from infra.oidc import Identity, Verifier
from infra.postgres import conninfo
from infra.settings import Settings
from infra.web import Application, Problem, application
from projections.acting import CALLERS, acts, body
from projections.errors import ProjectionError
from projections.plan import read_database
from projections.refolding.beside import Standing
from projections.refolding.rebuild import rebuild
from projections.rows import AnyView

log = logging.getLogger(__name__)

BODY_LIMIT = 1024
MEMORY = 256 * 1024 * 1024
REFUSAL_SECONDS = 0.5
FAILURES = (ProjectionError, EventStoreError, UnreadableEvent)


def rebuilding_side(
    domain: Domain, rebuilds: "Rebuilds", settings: Settings, health: Health, verifier: Verifier
) -> Application:
    app = application(f"{domain.name} rebuilds", settings, health, peers=CALLERS, body_limit=BODY_LIMIT)
    acts(app, domain, verifier, REBUILD, rebuilds.begin)
    return app


class Rebuilds:
    """Works as the owner of the read database, with bounded memory."""

    def __init__(self, domain: Domain, settings: Settings) -> None:
        self._domain, self._settings = domain, settings
        self._going: asyncio.Task[None] | None = None

    async def begin(self, request: Request, view: AnyView, identity: Identity) -> Response:
        """Answers when it goes on; what is refused at once is refused here."""
        await body(request, Rebuilding)
        if self._going is not None and not self._going.done():
            raise Problem(409, "rebuild-refused", "a view of this domain is being rebuilt at this moment")
        log.info("%s rebuilds %s", identity.subject, view.name)
        self._going = asyncio.create_task(self._rebuild(view), name=f"rebuild of {view.name}")
        done, _pending = await asyncio.wait({self._going}, timeout=REFUSAL_SECONDS)
        if done and (error := self._going.exception()) is not None:
            raise Problem(409, "rebuild-refused", str(error))
        return Response(orjson.dumps({"view": view.name}), 202, media_type="application/json")

    async def close(self) -> None:
        if self._going is not None:
            self._going.cancel()
            await asyncio.gather(self._going, return_exceptions=True)

    async def _rebuild(self, view: AnyView) -> None:
        owner = conninfo(self._settings, read_database(self._domain))
        log_of_events = conninfo(self._settings, events_database(self._domain))
        try:
            async with PostgresStore.open(log_of_events) as store, Standing.open(owner, self._domain) as standing:
                done = await rebuild(standing, view, store, memory=MEMORY)
        except FAILURES as error:
            log.warning("the rebuild of %s failed: %s", view.name, error)
            raise
        log.info("rebuilt %s: %s rows, %s of them changed", done.view, done.rows, done.changed)
