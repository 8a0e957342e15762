"""Processes that share the commands topic: a stream's commands are in work in one of them at a time."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from aiokafka import TopicPartition

from domains.errors import StrangeCommand
from domains.intake import Intake, TopicWriter
from domains.plan import LARGEST_RECORD, write_side
from eventstore.kafka import looking, read
from infra.native.kafka import ADMIN
from infra.producer import Outgoing, Producer
from projections.bench.domain import counting

KEYS, EACH, WORK_SECONDS = 8, 8, 0.5


@pytest.fixture
def domain(floor):
    """A domain of its own, with its topics and rights on the real broker."""
    domain = counting(f"intake-{uuid4().hex[:8]}")
    plan = write_side(domain)
    users = [floor.settings(name) for name in {acl.principal for acl in plan.acls}]
    floor.admin().provision(users, plan.acls, plan.topics)
    return domain


class Work:
    """What is in work, by stream, and what was done by whom."""

    def __init__(self):
        self.at, self.most_at_once, self.done, self.began = Counter(), 0, Counter(), asyncio.Event()
        self.by = {}

    def desk(self, name):
        work = self

        class Desk:
            async def do(self, value):
                key = value.partition(b" ")[0]
                work.at[key] += 1
                work.most_at_once = max(work.most_at_once, work.at[key])
                work.began.set()
                try:
                    await asyncio.sleep(WORK_SECONDS)
                    work.done[value] += 1
                    work.by.setdefault(name, set()).add(key)
                finally:
                    work.at[key] -= 1

        return Desk()

    async def all_done(self, values):
        while not values <= self.done.keys():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@asynccontextmanager
async def reading(settings, domain, desk):
    running = asyncio.create_task(Intake(settings, domain, desk, None).run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_a_process_that_joins_waits_for_what_is_in_work(floor, domain):
    settings, work = floor.settings(f"{domain.name}-write"), Work()
    writer, sent = TopicWriter(settings, domain.commands_topic), set[bytes]()

    async def send(number):
        for key in range(KEYS):
            stream = f"{domain.name}-{key}".encode()
            sent.add(value := b"%s %d" % (stream, number))
            await writer(stream, value, [])

    for number in range(EACH):
        await send(number)
    async with reading(settings, domain, work.desk("first")):
        async with asyncio.timeout(60):
            await work.began.wait()
        async with reading(settings, domain, work.desk("second")), asyncio.timeout(90):
            number = EACH
            await work.all_done(sent)
            while len(work.by) < 2:
                await send(number := number + 1)
                await work.all_done(sent)
    await writer.close()
    assert work.most_at_once == 1


class Refusing:
    """Knows no command."""

    async def do(self, _):
        raise StrangeCommand("nobody has accepted this command")


async def test_whatever_record_somebody_sends_is_set_aside_and_holds_nobody_up(floor, domain):
    settings = floor.settings(f"{domain.name}-write")
    sent = [(None, None), (b"a", None), (None, b"x" * (LARGEST_RECORD - 100)), (b"a", b"last")]
    stranger, dead = Producer(settings), TopicWriter(settings, domain.strange_commands_topic)
    await stranger.send(Outgoing(domain.commands_topic, 0, key, value, []) for key, value in sent)
    await stranger.close()
    place = TopicPartition(domain.strange_commands_topic, 0)
    async with looking(floor.settings(ADMIN), [place]) as consumer, asyncio.timeout(60):
        task = asyncio.create_task(Intake(settings, domain, Refusing(), dead).run())
        try:
            while (await consumer.end_offsets([place]))[place] < len(sent):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        finally:
            task.cancel()
            await asyncio.wait({task})
            await dead.close()
        kept = await read(consumer, place, 0, len(sent))
    assert sorted((record.key or b"", record.value or b"") for record in kept) == sorted(
        (key or b"", value or b"") for key, value in sent
    )
