"""Health means progress: to be behind is no illness, to stand still is."""

import pytest

from domains.orders import domain
from infra.health import Health
from infra.logs import Lines
from projections.errors import ReadUnavailable
from projections.lanes.progress import Progress
from projections.placed import Arrived
from projections.rows import MemoryDatabase
from projections.worker import Worker


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Topic:
    """A source of records and a place for freshness, as a test wants them."""

    def __init__(self):
        self.partitions, self.end, self.begun, self.down, self.noted = {0}, 100, 40, None, []

    def assigned(self):
        return self.partitions

    async def ends(self):
        if self.down:
            raise ReadUnavailable(self.down)
        return dict.fromkeys(range(domain.partitions), self.end)

    async def begins(self, _):
        return self.begun

    async def fresh(self, partitions):
        self.noted.append(list(partitions))
        return 0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def topic():
    return Topic()


@pytest.fixture
def progress(topic, clock):
    return Progress(domain, topic, topic, clock)


async def look_for(progress, clock, seconds, step=lambda: None):
    for _ in range(seconds * 2):
        step()
        await progress.look()
        clock.now += 0.5


async def test_who_has_no_partition_is_ill_at_once(progress, topic):
    topic.partitions = set()
    assert "no partition" in progress.problem()


async def test_who_is_far_behind_and_moves_is_well(progress, topic, clock):
    done = iter(range(41, 1000))
    topic.end = 10**9
    await look_for(progress, clock, 60, lambda: progress.worked(0, next(done)))
    assert progress.problem() is None
    assert topic.noted[-1] == []


async def test_who_stands_still_while_records_wait_is_ill_within_10_seconds(progress, clock):
    await look_for(progress, clock, 5)
    assert progress.problem() is None
    await look_for(progress, clock, 5)
    assert "partition 0 stands still at offset 40" in progress.problem()
    progress.worked(0, 41)
    await progress.look()
    assert progress.problem() is None


async def test_who_is_at_the_end_is_well_and_fresh_however_long(progress, topic, clock):
    progress.worked(0, 100)
    await look_for(progress, clock, 3600)
    assert (progress.problem(), topic.noted[-1]) == (None, [0])


async def test_a_partition_that_came_back_begins_anew(progress, topic, clock):
    await look_for(progress, clock, 9)
    topic.partitions = {1}
    await progress.look()
    topic.partitions = {0, 1}
    await progress.look()
    assert progress.problem() is None


async def test_when_kafka_or_the_database_says_nothing_that_is_told_within_10_seconds(progress, topic, clock):
    await progress.look()
    topic.down = "no broker"
    clock.now += 5
    assert progress.problem() is None
    clock.now += 4.5
    assert "has not answered for 10 s" in progress.problem()
    topic.down = None
    progress.worked(0, 41)
    await progress.look()
    assert progress.problem() is None


async def test_what_was_wrong_before_a_good_look_is_not_said_of_the_next(progress, clock):
    clock.now += 9
    assert progress.problem().endswith("for 9 s: it has only begun")
    await progress.look()
    clock.now += 9
    assert progress.problem() == "Kafka or the read database has not answered for 9 s"


class Standing:
    """A publisher in which the clock moves on, and who looks at the worker's health meanwhile."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds, self.worker, self.seen = clock, seconds, None, None

    async def dead(self, _):
        self.clock.now += self.seconds
        self.seen = self.worker.problem(), self.worker.stuck()


@pytest.mark.parametrize(
    ("seconds", "ready", "alive"), [(5, True, True), (9, False, True), (55, False, False)], ids=str
)
async def test_a_step_that_does_not_end_makes_a_worker_unready_and_later_dead(clock, seconds, ready, alive):
    publisher = Standing(clock, seconds)
    worker = Worker(domain, MemoryDatabase(4), publisher, Lines("test"), lambda: None, clock)
    publisher.worker = worker
    await worker.work(worker.judged([Arrived(domain.events_topic, 0, 0, b"k", b"junk", [])], lambda: None), None)
    assert [why is None for why in publisher.seen] == [ready, alive]
    assert (worker.problem(), worker.stuck()) == (None, None)


def test_only_what_is_vital_lets_a_process_die():
    health = Health()
    health.check("database", lambda: "it is down")
    health.vital("worker", lambda: None)
    assert (health.ready, health.deadly()) == (False, {})
    health.vital("worker", lambda: "it is stuck")
    assert health.deadly() == {"worker": "it is stuck"}
