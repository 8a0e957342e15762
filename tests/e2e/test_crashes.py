"""kill -9 of everything in mid-load; afterwards input, store, topic, rows and view topics agree exactly."""

import asyncio
import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random

import pytest

from domains.orders import domain
from domains.orders.demo.invoices import Invoice, InvoiceLine
from domains.orders.demo.load import Gateway, send_all
from domains.orders.demo.verify import differences
from domains.plan import events_database
from eventstore.cloudevents import decode
from eventstore.postgres import PostgresStore
from infra.plan import OPERATOR
from infra.postgres import conninfo
from projections.plan import read_database
from projections.postgres import PostgresDatabase
from projections.publish import row_json

SEED = 20101201
VICTIMS = ["orders-write", "orders-read", "kafka", "postgres", "gateway"]
ROUNDS = int(os.environ.get("HEADRACE_CRASH_ROUNDS", "1"))  # kills of each victim
INVOICES = 750 * ROUNDS
START = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


def invoice(number, random):
    sign = random.choice([1, 1, 1, -1])
    lines = [
        InvoiceLine(
            f"{random.randint(10000, 99999)}A", "", sign * random.randint(1, 99), Decimal(random.randint(1, 999)) / 100
        )
        for _ in range(random.randint(1, 20))
    ]
    name = f"{'C' if sign < 0 else ''}{700_000 + number}"
    country = random.choice(["United Kingdom", "France", "EIRE"])
    customer = random.choice([None, *(str(12_000 + number) for number in range(40))])
    return Invoice(name, START + timedelta(minutes=number), "GBP", country, customer, lines)


class Done:
    """Counts what is done, and wakes who waits for it."""

    def __init__(self):
        self.count, self._moved = 0, asyncio.Event()

    def step(self):
        self.count += 1
        self._moved.set()

    async def reach(self, count):
        while self.count < count:
            self._moved.clear()
            await self._moved.wait()


async def kill_in_mid_load(system, random, done, killed):
    """Kills each victim, in a seeded order, while commands flow; brings it back before the next."""
    victims = random.sample(VICTIMS * ROUNDS, len(VICTIMS) * ROUNDS)
    share = INVOICES // (len(victims) + 1)
    for number, victim in enumerate(victims, 1):
        await done.reach(number * share)
        await asyncio.to_thread(system.kill, victim)
        killed[victim] += 1
        await asyncio.to_thread(system.up)


async def log_of(system):
    async with PostgresStore.open(conninfo(system.settings(OPERATOR), events_database(domain))) as store:
        events = []
        while page := await store.read_log(after=len(events), limit=1000):
            events += page
        return events


async def stored_at(system, keys):
    """The rows at these keys of each view as they are stored and published: with what is personal sealed."""
    database = PostgresDatabase(conninfo(system.settings("orders-read"), read_database(domain)), domain)
    async with database.transaction() as transaction:
        loaded = {view.name: await transaction.load(view, list(keys[view.name])) for view in domain.views}
    await database.close()
    return {name: {key: json.loads(row_json(row)) for key, row in rows.items()} for name, rows in loaded.items()}


@pytest.mark.timeout(300)
async def test_nothing_is_lost_and_nothing_doubled_whatever_is_killed(system, token, records_of, summary):
    random = Random(SEED)
    invoices = [invoice(number, random) for number in range(INVOICES)]
    done, killed = Done(), Counter()
    told = system.status_json()

    with Gateway.open(told["gateway_url"], told["ca_file"], token) as gateway:
        outcome, _ = await asyncio.gather(
            send_all(gateway, invoices, domain.partitions, 16, done.step),
            kill_in_mid_load(system, random, done, killed),
        )
        assert outcome.refused == {}
        await gateway.caught_up([view.name for view in domain.views], [token for _, token in outcome.tokens.values()])
        assert await differences(gateway, invoices, outcome) == []
        rows = {view.name: {row[view.key]: row async for row in gateway.rows(view.name)} for view in domain.views}

    stored = await stored_at(system, rows)
    recorded = await log_of(system)
    assert [event.position for event in recorded] == list(range(1, len(recorded) + 1))
    placed = Counter(event.stream for event in recorded)
    assert all(placed[f"orders-{each.number}"] == 1 for each in invoices)

    records = records_of(domain.events_topic)
    published = {
        number: [decode(r.key(), r.value(), r.headers() or []) for r in lane] for number, lane in records.items()
    }
    positions = [[event.position for event in lane] for lane in published.values()]
    assert [(before, after) for lane in positions for before, after in pairwise(lane) if before >= after] == []
    everything = sorted((event for lane in published.values() for event in lane), key=lambda event: event.position)
    assert everything == recorded

    for view in domain.views:
        latest = {}
        for lane in records_of(domain.view_topic(view)).values():
            for record in lane:
                latest[record.key().decode()] = record.value() and json.loads(record.value())
        assert {key: row for key, row in latest.items() if row is not None} == stored[view.name]

    kills = ", ".join(f"{name} {count}" for name, count in sorted(killed.items()))
    summary.append(
        f"crash test, seed {SEED}: {killed.total()} kills ({kills}); {len(invoices)} commands, {len(recorded)} events, "
        f"{sum(map(len, rows.values()))} rows: input = store = topic = rows = view topics, 0 lost, 0 doubled"
    )
    assert killed == dict.fromkeys(VICTIMS, ROUNDS)
