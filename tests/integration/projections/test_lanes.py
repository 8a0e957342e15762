"""Each lane gives each event to each row once, whoever is killed, stopped or joins meanwhile."""

import asyncio
import gc
import json
import os
import signal
import sys
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from time import monotonic
from uuid import uuid4

import psutil
import psycopg
import pytest
from aiokafka.client import AIOKafkaClient
from confluent_kafka import Consumer, Producer, TopicPartition
from psycopg.sql import SQL, Identifier

from domains.plan import write_side
from eventstore.cloudevents import encode
from eventstore.link import parameters
from eventstore.migrate import connect
from eventstore.records import Metadata, RecordedEvent
from infra.health import Health
from infra.kafka import librdkafka
from infra.logs import Lines
from infra.native.kafka import ADMIN
from infra.native.processes import plain_environment, told
from infra.partitions import partition_of
from infra.postgres import conninfo
from projections.__main__ import LANES
from projections.lanes import faust_lane, refusal
from projections.migrate import migrate
from projections.plan import read_database, read_side
from projections.postgres import PostgresDatabase
from projections.publish import KafkaPublisher
from projections.rows import MemoryDatabase
from projections.worker import Worker
from tests import strange
from tests.integration.projections.counting import AT, counting
from tests.integration.projections.door import Door

PROCESS = Path(__file__).with_name("lane_process.py")
EVENTS = int(os.environ.get("HEADRACE_TEST_LANE_EVENTS", "3000"))
SEED = int(os.environ.get("HEADRACE_TEST_SEED", "20"))
# So long, after the short script, something happens to a worker every two seconds.
CHAOS_SECONDS = int(os.environ.get("HEADRACE_TEST_CHAOS_SECONDS", "0"))
STEP_SECONDS, STEP_EVENTS, STOPPED_SECONDS = 2, 2000, 30
ACTIONS = ("join", "kill", "leave", "stop")
SIGNALS = {"kill": signal.SIGKILL, "leave": signal.SIGTERM, "stop": signal.SIGSTOP}
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
        self._settings = floor.settings(f"{domain.name}-write")
        self._producer = Producer(librdkafka(self._settings, **{"enable.idempotence": True, "log_level": 0}))

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
        strange.send(self._settings, self.domain.events_topic, 0, b"stranger", b"{")

    def _send(self, key, value, headers):
        place = partition_of(key, self.domain.partitions)
        self._producer.produce(self.domain.events_topic, value, key, place, headers=headers)
        self._producer.poll(0)

    @property
    def total(self):
        return self.counts.total()


class Crew:
    """Workers of one domain: they come, go, are killed, and are stopped for a while, but one is always at work."""

    def __init__(self, floor, domain, lane, folder):
        name = f"{domain.name}-read"
        environment = plain_environment() | told(floor.state, floor.credentials / name, floor.plan, name)
        self._environment = environment | {"PYTHONPATH": str(Path(__file__).parents[3])}
        self._call = [sys.executable, PROCESS, lane, domain.name]
        self._folder = folder
        self._working, self._stopped, self._done = [], [], Counter()

    async def join(self):
        with self._said().open("wb") as said:
            own = {"env": self._environment, "cwd": self._folder, "stdout": said, "stderr": said}
            self._working.append(await asyncio.create_subprocess_exec(*self._call, **own))

    def _said(self):
        return self._folder / f"{len(list(self._folder.glob('*.log'))):04}.log"

    async def act(self, chance, actions=ACTIONS):
        """One of these, as far as it can be."""
        working = len(self._working)
        possible = ["join"] if working < 2 else [one for one in actions if one != "join" or working < 4]
        action = chance.choice(possible)
        self._done[action] += 1
        if action == "join":
            await self.join()
            return
        one = self._working.pop(chance.randrange(len(self._working)))
        one.send_signal(SIGNALS[action])
        if action == "stop":
            self._stopped.append((monotonic(), one))
        else:
            await one.wait()

    def resume(self, older_than=0.0):
        for since, one in list(self._stopped):
            if monotonic() - since >= older_than:
                self._stopped.remove((since, one))
                one.send_signal(signal.SIGCONT)
                self._working.append(one)

    async def end(self):
        for one in (*self._working, *(stopped for _, stopped in self._stopped)):
            one.kill()
            await one.wait()
        # For whoever looks into a failure: what each said last.
        for file in sorted(self._folder.glob("*.log")):
            sys.stderr.write("\n  ".join([file.name, *file.read_text().splitlines()[-8:], ""]))

    def __str__(self):
        return ", ".join(f"{action} {times}" for action, times in sorted(self._done.items()))


def held(place, table):
    with psycopg.connect(autocommit=True, **parameters(place)) as connection:
        return dict(connection.execute(EACH.format(Identifier(table))).fetchall())


def newest(floor, domain):
    """What the last record of each key says, by view."""
    own = {"group.id": "none", "enable.auto.commit": False, "log_level": 0}
    consumer = Consumer(librdkafka(floor.settings(ADMIN), **own))
    try:
        return tuple(counts_in(consumer, domain.view_topic(view), domain.partitions) for view in domain.views)
    finally:
        consumer.close()


def counts_in(consumer, topic, partitions):
    places = [TopicPartition(topic, number, 0) for number in range(partitions)]
    consumer.assign(places)
    left = sum(consumer.get_watermark_offsets(place, 10)[1] for place in places)
    found = {}
    while left > 0 and (records := consumer.consume(min(left, 10_000), 5)):
        left -= len(records)
        found |= {record.key().decode(): json.loads(record.value())["count"] for record in records}
    return found


@pytest.fixture
async def crew(floor, domain, lane, tmp_path):
    crew = Crew(floor, domain, lane, tmp_path)
    yield crew
    await crew.end()


@pytest.mark.timeout(240 + 2 * CHAOS_SECONDS)
async def test_each_event_is_counted_once_whoever_is_killed_stopped_or_joins(floor, domain, lane, crew, request):
    store, chance = Store(floor, domain), Random(SEED)
    place = conninfo(floor.settings(f"{domain.name}-read"), read_database(domain))

    async def counted(least):
        """What is counted, as soon as it is so much."""
        async with asyncio.timeout(90 + CHAOS_SECONDS):
            while True:
                if (total := held(place, "sums_v1").get("all", 0)) >= least:
                    return total, held(place, "counts_v1")
                await asyncio.sleep(0.02)

    share = EVENTS // 4
    await crew.join()
    await crew.join()
    for action in ("kill", "join", "stop"):
        store.publish(share)
        await counted(store.total - share // 2)
        await crew.act(chance, [action])
    store.publish(share // 2)
    await counted(store.total)
    began, steps = monotonic(), 0
    while monotonic() - began < CHAOS_SECONDS:
        steps += 1
        crew.resume(older_than=STOPPED_SECONDS)
        await crew.act(chance)
        while monotonic() - began < STEP_SECONDS * steps:
            store.publish(STEP_EVENTS // 10)
            await asyncio.sleep(STEP_SECONDS / 10)
    crew.resume()
    store.publish(max(1, EVENTS - store.total))
    assert await counted(store.total) == (store.total, store.counts)
    async with asyncio.timeout(60):
        while newest(floor, domain) != (store.counts, {"all": store.total}):  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    with psycopg.connect(**parameters(place)) as connection:
        assert connection.execute("SELECT max(position) FROM positions").fetchone() == (store.total,)
    said = f"{lane} lane, seed {SEED}: {store.total} events in {len(store.counts)} counters, all exact after: {crew}"
    request.config.pluginmanager.get_plugin("terminalreporter").write_line(f"\n{said}")


@asynccontextmanager
async def at_work(domain, lane, settings, place):
    """A lane in this process, with all that it needs of the read side; for a minute at most."""
    folded, noted = PostgresDatabase(place, domain), PostgresDatabase(place, domain)
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(KafkaPublisher.open(settings, domain))
        worker = Worker(domain, folded, publisher, Lines("lane"), lambda: None)
        for database in (folded, noted):
            stack.push_async_callback(database.close)
        running = LANES[lane](settings, domain, worker, noted)
        async with asyncio.timeout(60), running.running(Health()):
            yield running


async def all_are_counted(place, number):
    while held(place, "sums_v1").get("all") != number:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("lane", ["faust"])
async def test_faust_that_lost_its_coordinator_for_ever_is_replaced(floor, domain, monkeypatch, tmp_path):
    failed, lookup = asyncio.Event(), AIOKafkaClient.coordinator_lookup

    async def failing_once(client, *asked):
        if not failed.is_set():
            failed.set()
            raise AssertionError("Did we not perform bootstrap?")
        return await lookup(client, *asked)

    monkeypatch.setattr(AIOKafkaClient, "coordinator_lookup", failing_once)
    monkeypatch.setattr(faust_lane, "BEGIN_SECONDS", 5)
    monkeypatch.chdir(tmp_path)  # where faust makes a folder
    settings = floor.settings(f"{domain.name}-read")
    place = conninfo(settings, read_database(domain))
    Store(floor, domain).publish(5)
    async with at_work(domain, "faust", settings, place):
        await failed.wait()
        await all_are_counted(place, 5)


async def test_a_lane_that_begins_before_the_broker_does_works_as_soon_as_that_is_there(
    floor, domain, lane, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)  # where faust makes a folder
    settings = floor.settings(f"{domain.name}-read")
    place = conninfo(settings, read_database(domain))
    Store(floor, domain).publish(5)
    async with Door(settings.kafka_bootstrap) as door:
        early = settings.model_copy(update={"kafka_bootstrap": door.address})
        async with at_work(domain, lane, early, place):
            await door.knocked_at(3)
            door.opened = True
            await all_are_counted(place, 5)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Where faust makes a folder."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("right", ["topic", "group"])
async def test_a_lane_that_loses_a_right_says_so_and_counts_as_stuck(floor, domain, lane, right, monkeypatch):
    monkeypatch.setattr(refusal, "STUCK_SECONDS", 3)
    settings = floor.settings(f"{domain.name}-read")
    place = conninfo(settings, read_database(domain))
    acls = (write_side(domain) + read_side(domain)).acls
    left = [acl for acl in acls if acl.principal == settings.principal and not covers(acl, right, domain)]
    store = Store(floor, domain)
    store.publish(5)
    async with at_work(domain, lane, settings, place) as running:
        await all_are_counted(place, 5)
        floor.admin().provision([settings], left, [])
        while (why := running.stuck()) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert "uthorization" in running.problem()
        assert domain.events_topic in why
        floor.admin().provision([settings], acls, [])
        store.publish(5)
        await all_are_counted(place, 10)
        assert running.stuck() is None


@pytest.mark.usefixtures("folder")
async def test_a_lane_that_begins_without_its_group_says_so_within_ten_seconds_and_works_when_it_has_it(
    floor, domain, lane
):
    settings = floor.settings(f"{domain.name}-read")
    place = conninfo(settings, read_database(domain))
    acls = (write_side(domain) + read_side(domain)).acls
    left = [acl for acl in acls if acl.principal == settings.principal and not covers(acl, "group", domain)]
    floor.admin().provision([settings], left, [])
    Store(floor, domain).publish(5)
    async with at_work(domain, lane, settings, place) as running:
        async with asyncio.timeout(10):
            while "uthorization" not in str(running.problem()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        floor.admin().provision([settings], acls, [])
        await all_are_counted(place, 5)


def covers(acl, right, domain):
    return acl.resource == right and (right == "group" or domain.events_topic.startswith(acl.name.rstrip("*")))


async def test_faust_that_cannot_begin_leaves_nothing_open(floor, monkeypatch, tmp_path, caplog):
    monkeypatch.chdir(tmp_path)  # where faust makes a folder
    monkeypatch.setattr(faust_lane, "PAUSE_SECONDS", 0.01)
    domain, open_files = counting("unbegun"), psutil.Process().num_fds

    async def begun_anew(times):
        while caplog.text.count("begun anew") < times:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return open_files()

    async with Door(floor.settings("unbegun-read").kafka_bootstrap) as door:
        settings = floor.settings("unbegun-read").model_copy(update={"kafka_bootstrap": door.address})
        worker = Worker(domain, MemoryDatabase(domain.partitions), None, Lines("unbegun"), lambda: None)
        async with asyncio.timeout(60), faust_lane.FaustLane(settings, domain, worker, None).running(Health()):
            gc.disable()
            try:
                assert await begun_anew(2) + 10 > await begun_anew(12)
            finally:
                gc.enable()
