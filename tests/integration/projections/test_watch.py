"""What waits is counted, however far one partition is behind the others."""

import pytest

from domains.codec import decode
from domains.orders import domain
from infra.partitions import partition_of
from projections import watch
from projections.serving.views import Views
from projections.watch import Watcher

SLOW = 0


@pytest.fixture
async def watcher(system, monkeypatch):
    monkeypatch.setattr(watch, "PAGE", 10)
    monkeypatch.setattr(watch, "PAGES", 3)
    views = Views(system.reader, domain)
    await views.open()
    yield Watcher(domain, system.store, views)
    await views.close()


async def waiting(system):
    """What the slow partition has waiting, by reading the log."""
    [[position]] = system.execute("SELECT position FROM positions WHERE partition = %s", SLOW)
    log = await system.store.read_log(after=position)
    return [event for event in log if partition_of(event.stream.encode(), domain.partitions) == SLOW]


async def looks(watcher):
    """What is said until all is read."""
    said = [(await watcher.look())[0]]
    while watcher._read < said[-1].head:
        said.append((await watcher.look())[0])
        assert len(said) < 20
    return said


async def test_a_partition_that_is_far_behind_is_counted_event_by_event(system, watcher):
    assert system.execute("UPDATE positions SET position = 0 WHERE partition = %s", SLOW)
    behind = await waiting(system)
    said = await looks(watcher)
    assert len(said) > 2
    assert said[-1].events_behind == len(behind)
    # What is not read yet is taken as spread evenly.
    assert all(abs(one.events_behind - len(behind)) < 20 for one in said)
    assert said[0].seconds_behind > 0
    half = behind[len(behind) // 2]
    assert system.execute("UPDATE positions SET position = %s WHERE partition = %s", half.position, SLOW)
    (found,) = await looks(watcher)
    assert found.events_behind == len(await waiting(system)) < len(behind)
    assert found.rate > 0
    [[last]] = system.execute("SELECT max(position) FROM positions")
    (last,) = await system.store.read_log(after=last - 1, limit=1)
    assert found.last_row["order"] == decode(domain, last).order


async def test_it_begins_where_nothing_older_can_wait(system, watcher, monkeypatch):
    monkeypatch.setattr(watch, "APART_SECONDS", 0.0)
    # A partition without events stands at the begin for ever, and is complete all the same.
    assert system.execute("UPDATE positions SET position = 0 WHERE partition = %s", SLOW)
    system.execute(
        "INSERT INTO freshness SELECT 'views', partition, clock_timestamp() FROM positions WHERE projection = 'views'"
    )
    found = (await watcher.look())[0]
    assert (found.events_behind, found.seconds_behind) == (0, 0.0)
