"""python -m domains <domain> [--role api|relay|commands|all]: the write side of one domain."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import uvloop

from domains.aggregates import Policy
from domains.discovery import discover
from domains.handler import Handler
from domains.intake import Intake, TopicWriter
from domains.kernel import Domain
from domains.opening import keys_of
from domains.operations import Desk
from domains.plan import events_database
from domains.service import write_side
from eventstore.errors import EventStoreError
from eventstore.evidence.place import sealer_of
from eventstore.kafka import KafkaTopic
from eventstore.lead import PostgresLead
from eventstore.operations import PostgresOperations
from eventstore.postgres import PostgresStore
from eventstore.relay import Relay
from eventstore.store import EventStore
from infra.beside import beside
from infra.errors import InfraError
from infra.health import Health
from infra.logs import configure
from infra.oidc import Verifier
from infra.postgres import conninfo
from infra.settings import Settings, load
from infra.web import serve

SWEEP_SECONDS = 600.0
log = logging.getLogger(__name__)


async def run(domain: Domain, settings: Settings, role: str) -> None:
    """Serves until SIGTERM; relay and sealer run beside it."""
    place = conninfo(settings, events_database(domain))
    health = Health()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(PostgresStore.open(place))
        keys = await stack.enter_async_context(keys_of(domain, settings))
        operations = await stack.enter_async_context(PostgresOperations.open(place))
        policy = Policy(hot=settings.hot_aggregates, snapshot_every=settings.snapshot_every)
        handler = Handler(domain, store, policy, keys)
        desk = Desk(domain, handler, operations, topic_writer(settings, domain.commands_topic, stack))
        verifier = Verifier(settings)
        health.check("event store", store.problem)
        health.check("identity provider", verifier.unready)
        kept = timedelta(hours=settings.idempotency_hours)
        work: dict[str, Coroutine[Any, Any, object]] = {
            "issuer keys": verifier.load_as_soon_as_possible(),
            "expiry of keys": forget_old_keys(store, operations, kept),
        }
        if role in ("commands", "all"):
            dead = topic_writer(settings, domain.strange_commands_topic, stack)
            work["commands topic"] = Intake(settings, domain, desk, dead).run()
        if role in ("relay", "all"):
            topic = await stack.enter_async_context(KafkaTopic.open(settings, domain.events_topic, domain.partitions))
            relay = Relay(store, topic, PostgresLead(place), f"/{domain.name}")
            health.check("relay", relay.problem)
            sealer = await stack.enter_async_context(sealer_of(settings, domain.name, store, place))
            health.check("sealer", sealer.problem)
            work |= {"relay": relay.run(), "sealer": sealer.run()}
        side = write_side(domain, store, settings, health, verifier, keys=keys, desk=desk)
        async with beside(health, work):
            await serve(settings, side, health)


def topic_writer(settings: Settings, topic: str, stack: AsyncExitStack) -> TopicWriter:
    made = TopicWriter(settings, topic)
    stack.push_async_callback(made.close)
    return made


async def forget_old_keys(store: EventStore, operations: PostgresOperations, kept: timedelta) -> None:
    """Forgets idempotency keys and operations when their time is over, until cancelled."""
    while True:
        try:
            await operations.expire(kept)
            if gone := await store.expire_keys(kept):
                log.info("%d idempotency keys are forgotten", gone)
        except EventStoreError as error:
            log.warning("old idempotency keys wait: %s", error)
        await asyncio.sleep(SWEEP_SECONDS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m domains")
    parser.add_argument("domain", choices=list(discover()))
    parser.add_argument("--role", choices=["api", "relay", "commands", "all"], default="all")
    given = parser.parse_args()
    try:
        settings = load().need("kafka_bootstrap", "postgres_host", "oidc_issuer")
        configure(settings)
        uvloop.run(run(discover()[given.domain], settings, given.role))
    except InfraError as error:
        print(f"{error} ({error.hint})" if error.hint else error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
