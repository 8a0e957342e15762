"""python -m projections <domain> [--role worker|api|all]: the read side of one domain.
python -m projections migrate <domain>: makes its tables.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from time import monotonic

import psycopg
import uvloop

from domains.discovery import discover
from domains.errors import UnreadableEvent
from domains.kernel import Domain
from domains.opening import keys_of
from domains.plan import events_database
from eventstore.errors import StoreUnavailable
from eventstore.migrate import connect
from eventstore.postgres import PostgresStore
from infra.beside import beside
from infra.errors import InfraError
from infra.garbage import collect_rarely
from infra.health import Health
from infra.logs import Lines, configure
from infra.oidc import Verifier
from infra.postgres import conninfo
from infra.settings import Settings, load
from infra.web import serve
from projections.acting import Care
from projections.errors import ProjectionError, ReadUnavailable
from projections.lanes.direct_lane import DirectLane
from projections.lanes.faust_lane import FaustLane
from projections.lanes.progress import UpToTheStore
from projections.migrate import migrate
from projections.plan import read_database
from projections.postgres import PostgresDatabase
from projections.publish import KafkaPublisher
from projections.refolding.changed import SECONDS as LOOK_SECONDS
from projections.refolding.changed import check
from projections.refolding.complete import complete, recorded
from projections.refolding.republish import Republisher
from projections.refolding.sampling import Sampler
from projections.retry import Retry
from projections.serving.live import Live
from projections.serving.past import Past
from projections.serving.rebuilding import tell
from projections.serving.service import Queries, read_side
from projections.serving.views import Views
from projections.worker import IN_HAND, Worker

PATIENCE_SECONDS = 60
# `headrace up` ends the step that makes the tables after so long; what comes around the look takes some of it.
STEP_SECONDS, MARGIN_SECONDS = 120.0, 20.0
LANES: Mapping[str, type[FaustLane] | type[DirectLane]] = {"faust": FaustLane, "direct": DirectLane}


async def run(domain: Domain, settings: Settings, role: str) -> None:
    """Serves until SIGTERM; the worker runs beside it."""
    place = conninfo(settings, read_database(domain))
    health = Health()
    async with AsyncExitStack() as stack:
        views = Views(place, domain)
        await views.open()
        stack.push_async_callback(views.close)
        store = await stack.enter_async_context(PostgresStore.open(conninfo(settings, events_database(domain))))
        if role in ("worker", "all"):
            collect_rarely(IN_HAND)
            database = PostgresDatabase(place, domain)
            stack.push_async_callback(database.close)
            lines = Lines(settings.principal)
            stack.callback(lines.flush)
            publisher = await stack.enter_async_context(KafkaPublisher.open(settings, domain))
            worker = Worker(domain, database, publisher, lines, views.moved, head=store.head)
            noted = PostgresDatabase(place, domain)
            stack.push_async_callback(noted.close)
            lane = LANES[settings.projection_lane](settings, domain, worker, UpToTheStore(noted, store))
            health.check("projection", worker.problem)
            health.vital("projection", worker.stuck)
            health.check("events topic", lane.problem)
            health.vital("events topic", lane.stuck)
            await stack.enter_async_context(lane.running(health))
            await stack.enter_async_context(Republisher(domain, place, publisher).running(health))
            await stack.enter_async_context(beside(health, {"rebuild progress": tell(domain, views)}))
        acting = PostgresDatabase(place, domain)
        stack.push_async_callback(acting.close)
        told = await stack.enter_async_context(KafkaPublisher.open(settings, domain))
        care = Care(Retry(domain, acting, told))
        keys = await stack.enter_async_context(keys_of(domain, settings))
        verifier = Verifier(settings)
        health.check("identity provider", verifier.unready)
        await stack.enter_async_context(beside(health, {"issuer keys": verifier.load_as_soon_as_possible()}))
        if role in ("worker", "all") and settings.verify_rate:
            sampler = Sampler(domain, store, PostgresDatabase(place, domain), settings.verify_rate)
            await stack.enter_async_context(sampler.running(health))
        live = Live(settings, domain, views, keys)
        stack.push_async_callback(live.close)
        queries = Queries(domain, views, Past(domain, store, views.skipped), live, keys)
        app = read_side(domain, queries, settings, health, verifier)
        care.add(app, domain, verifier)
        await serve(settings, app, health)


def main(arguments: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if given[:1] == ["migrate"]:
            return prepare(discover()[parser("migrate").parse_args(given[1:]).domain])
        asked = parser("", roles=True).parse_args(given)
        settings = load().need("kafka_bootstrap", "postgres_host", "oidc_issuer")
    except InfraError as error:
        return say(2, f"{error} ({error.hint})" if error.hint else str(error))
    configure(settings)
    uvloop.run(run(discover()[asked.domain], settings, asked.role))
    return 0


def prepare(domain: Domain) -> int:
    began = monotonic()
    try:
        settings = load()
        place, store_place = (conninfo(settings, name(domain)) for name in (read_database, events_database))
        with connect(place, PATIENCE_SECONDS) as connection:
            migrate(connection, domain, recorded=asyncio.run(recorded(store_place)))
            if asyncio.run(complete(domain, place, store_place)):
                migrate(connection, domain)
        for view in asyncio.run(check(domain, place, store_place, left(began))):
            say(0, f"not seen whether the changed code of {view} makes other rows: headrace projection verify")
    except (StoreUnavailable, ReadUnavailable) as error:
        return say(69, str(error))
    except (ProjectionError, UnreadableEvent, psycopg.Error) as error:
        return say(1, str(error))
    return 0


def left(began: float) -> float:
    """For how long changed code may be looked at."""
    return min(LOOK_SECONDS, max(0.0, STEP_SECONDS - MARGIN_SECONDS - (monotonic() - began)))


def parser(verb: str, *, roles: bool = False) -> argparse.ArgumentParser:
    built = argparse.ArgumentParser(prog=f"python -m projections {verb}".strip())
    built.add_argument("domain", choices=list(discover()))
    if roles:
        built.add_argument("--role", choices=["worker", "api", "all"], default="all")
    return built


def say(code: int, sentence: str) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(main())
