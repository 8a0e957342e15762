"""Who reads the commands topic goes on, whatever that raises, and gives partitions away with nothing in work."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiokafka.errors import KafkaConnectionError, OutOfOrderSequenceNumber
from aiokafka.structs import TopicPartition

from domains import intake
from domains.intake import Handover, Intake, TopicWriter
from domains.orders import domain
from infra.web import Problem


@dataclass
class Record:
    key: bytes
    value: bytes


class Consumer:
    """Raises what it is given, or has some records; then nothing."""

    def __init__(self, error=None, records=()):
        self._error, self._records, self.commits = error, [*records], 0

    async def getmany(self, **_):
        if self._error is not None:
            raise self._error
        if not self._records:
            await asyncio.Event().wait()
        records, self._records = self._records, []
        return {TopicPartition(domain.commands_topic, 0): records}

    async def commit(self):
        self.commits += 1


class Desk:
    """Does one command after the other when it is let; what is done, in order."""

    def __init__(self):
        self.begun, self.let, self.done = [], asyncio.Semaphore(0), []

    async def do(self, value):
        self.begun.append(value)
        await self.let.acquire()
        self.done.append(value)


@asynccontextmanager
async def running(monkeypatch, *consumers, desk=None):
    left, all_used = list(consumers), asyncio.Event()

    @asynccontextmanager
    async def reading(_):
        if len(left) == 1:
            all_used.set()
        yield left.pop(0)

    monkeypatch.setattr(intake, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(Intake, "_reading", reading)
    made = Intake(None, domain, desk, None)
    task = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(10):
            await all_used.wait()
            yield made
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert task.cancelled()


async def until(holds):
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0)


@pytest.mark.parametrize("error", [KafkaConnectionError(), OSError(), TypeError("nobody foresaw it")])
async def test_reading_begins_anew_after_any_error(monkeypatch, error):
    async with running(monkeypatch, Consumer(error), Consumer()):
        pass


async def test_before_partitions_go_elsewhere_what_is_in_work_ends_and_nothing_begins(monkeypatch):
    desk, consumer = Desk(), Consumer(records=[Record(b"a", b"a1"), Record(b"a", b"a2"), Record(b"b", b"b1")])
    async with running(monkeypatch, consumer, desk=desk) as made:
        await until(lambda: sorted(desk.begun) == [b"a1", b"b1"])
        leaving = asyncio.create_task(Handover(made).on_partitions_revoked([]))
        desk.let.release()
        await until(lambda: desk.done)
        assert not leaving.done()
        desk.let.release()
        await leaving
        assert sorted(desk.done) == [b"a1", b"b1"]
        assert sorted(desk.begun) == [b"a1", b"b1"]
    assert consumer.commits == 0


async def test_what_comes_too_late_is_left_to_others_and_after_the_handover_work_goes_on():
    desk, consumer = Desk(), Consumer(records=[Record(b"a", b"a1")])
    for _ in range(3):
        desk.let.release()
    made = Intake(None, domain, desk, None)
    await Handover(made).on_partitions_revoked([])
    await made._some(consumer)
    assert (desk.begun, consumer.commits) == ([], 0)
    Handover(made).on_partitions_assigned([])
    await made._some(Consumer(records=[Record(b"a", b"a1")]))
    assert desk.done == [b"a1"]


async def test_a_command_that_takes_too_long_does_not_hold_a_handover_for_ever(monkeypatch):
    monkeypatch.setattr(intake, "REST_SECONDS", 0.01)
    desk = Desk()
    async with running(monkeypatch, Consumer(records=[Record(b"a", b"a1")]), desk=desk) as made:
        await until(lambda: desk.begun)
        await Handover(made).on_partitions_revoked([])
        assert desk.done == []


class Producer:
    """One of aiokafka's; the first has failed for ever, or can't begin."""

    made = 0
    begins = True

    def __init__(self, **_):
        type(self).made += 1
        self._sender = type("Sender", (), {"sender_task": None})
        self.stopped, self.error = False, OutOfOrderSequenceNumber() if self.made == 1 else None

    async def start(self):
        if not self.begins:
            raise KafkaConnectionError

    async def send_and_wait(self, *_, **__):
        if self.error is not None:
            raise self.error

    async def stop(self):
        self.stopped = True


@pytest.fixture
def writer(monkeypatch):
    monkeypatch.setattr(Producer, "made", 0)
    monkeypatch.setattr(intake, "AIOKafkaProducer", Producer)
    monkeypatch.setattr(intake, "aiokafka", lambda _, **more: more)
    return TopicWriter(None, "topic")


async def test_what_no_producer_took_was_not_accepted(writer, monkeypatch):
    monkeypatch.setattr(Producer, "begins", False)
    with pytest.raises(Problem) as refused:
        await writer(b"a", b"1", [])
    assert refused.value.type == "store-unavailable"


async def test_after_a_producer_failed_nothing_is_known_and_the_next_record_has_a_new_one(writer):
    with pytest.raises(Problem) as refused:
        await writer(b"a", b"1", [])
    assert refused.value.type == "outcome-unknown"
    for _ in range(2):
        await writer(b"a", b"1", [])
    assert Producer.made == 2
    await writer.close()
