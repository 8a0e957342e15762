"""Each lane gives each event to each row once, whoever is killed, stopped or joins meanwhile."""

import asyncio
import os
import signal
import sys
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka import Producer
from psycopg.sql import SQL, Identifier

from domains.plan import write_side
from eventstore.cloudevents import encode
from eventstore.link import parameters
from eventstore.migrate import connect
from eventstore.records import Metadata, RecordedEvent
from infra.kafka import librdkafka, partition_of
from infra.native.processes import plain_environment, told
from infra.postgres import conninfo
from projections.migrate import migrate
from projections.plan import read_database, read_side
from tests.integration.projections.counting import AT, counting

PROCESS = Path(__file__).with_name("lane_process.py")
EVENTS = int(os.environ.get("HEADRACE_TEST_LANE_EVENTS", "3000"))
SEED = 20
EACH = SQL("SELECT counter, count FROM {}")


@pytest.fixture(params=["faust", "direct"])
def lane(request):
    return request.param


@pytest.fixture
def domain(floor, lane):
    """A domain of its own, with all that its read side needs on the real servers."""
    domain = counting(f"{lane}-{uuid4().hex[:8]}")
    plan = write_side(domain) + read_side(domain)
    read = next(database for database in plan.databases if database.name == read_database(domain))
    floor.create_database(read)
    with connect(conninfo(floor.settings(read.owner), read.name), 30) as connection:
        migrate(connection, domain)
    users = [floor.settings(name) for name in {acl.principal for acl in plan.acls}]
    floor.admin().provision(users, plan.acls, plan.topics)
    return domain


class Store:
    """Events as a relay publishes them, and how often each counter was counted."""

    def __init__(self, floor, domain):
        self.domain, self.counts, self._random = domain, Counter(), Random(SEED)
        self._producer = Producer(
            librdkafka(floor.settings(f"{domain.name}-write"), **{"enable.idempotence": True, "log_level": 0})
        )

    def publish(self, number):
        """So many more events, and in their midst a record that is none."""
        for position in range(self.total + 1, self.total + number + 1):
            counter = f"c{self._random.randrange(100)}"
            self.counts[counter] += 1
            stream, data = f"{self.domain.name}-{counter}", b'{"occurred_at":"%s","counter":"%s"}'
            data %= AT.isoformat().encode(), counter.encode()
            kind = next(iter(self.domain.events))
            event = RecordedEvent(position, stream, self.counts[counter], uuid4(), kind, AT, AT, data, Metadata())
            record = encode(event, "/test")
            self._send(record.key, record.value, record.headers)
        self._send(b"stranger", b"{", [])
        assert self._producer.flush(30) == 0

    def _send(self, key, value, headers):
        place = partition_of(key, self.domain.partitions)
        self._producer.produce(self.domain.events_topic, value, key, place, headers=headers)
        self._producer.poll(0)

    @property
    def total(self):
        return self.counts.total()


@asynccontextmanager
async def worker(floor, domain, lane):
    name = f"{domain.name}-read"
    environment = plain_environment() | told(floor.state, floor.credentials / name, floor.plan, name)
    path = {"PYTHONPATH": str(Path(__file__).parents[3])}
    running = await asyncio.create_subprocess_exec(
        sys.executable, PROCESS, lane, domain.name, env=environment | path, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


@pytest.mark.timeout(240)
async def test_each_event_is_counted_once_whoever_is_killed_stopped_or_joins(floor, domain, lane):
    store = Store(floor, domain)
    place = parameters(conninfo(floor.settings(f"{domain.name}-read"), read_database(domain)))

    def held(table):
        with psycopg.connect(autocommit=True, **place) as connection:
            return dict(connection.execute(EACH.format(Identifier(table))).fetchall())

    async def counted(least):
        """What is counted, as soon as it is so much."""
        async with asyncio.timeout(90):
            while True:
                if (total := held("sums_v1").get("all", 0)) >= least:
                    return total, held("counts_v1")
                await asyncio.sleep(0.02)

    share = EVENTS // 4
    async with worker(floor, domain, lane) as first, worker(floor, domain, lane) as second:
        store.publish(share)
        await counted(share // 2)
        first.kill()
        store.publish(share)
        await counted(share + share // 2)
        second.send_signal(signal.SIGSTOP)
        store.publish(share)
        async with worker(floor, domain, lane):
            await counted(2 * share)
            second.send_signal(signal.SIGCONT)
            store.publish(EVENTS - store.total)
            assert await counted(EVENTS) == (EVENTS, store.counts)
    with psycopg.connect(**place) as connection:
        assert connection.execute("SELECT max(position) FROM positions").fetchone() == (EVENTS,)
