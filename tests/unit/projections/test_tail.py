"""The newest changes of a view, kept once for many readers: nothing is left out, and memory is bounded."""

import asyncio
from contextlib import suppress

import pytest

from domains.orders import domain
from infra.web.events import RETRY
from projections.errors import Overtaken, ReadUnavailable
from projections.serving import live
from projections.serving.live import Live
from projections.serving.tail import KEPT, KEPT_BYTES, PAGE, Change, Tail, weight
from projections.serving.telling import Wanted, cursor_of

PARTITIONS = 4


class MemoryLog:
    """A topic in memory that a test writes to."""

    def __init__(self, records=()):
        self.next = [0] * PARTITIONS
        self._written, self._ends = [], [0] * PARTITIONS
        self._arrived = asyncio.Event()
        self.write(*records)

    def write(self, *keys, value=b"{}"):
        for key in keys:
            partition = key % PARTITIONS
            self._written.append(Change(partition, self._ends[partition], str(key), value))
            self._ends[partition] += 1
        self._arrived.set()

    def fail(self):
        self._written = None
        self._arrived.set()

    async def ends(self):
        return [0] * PARTITIONS, list(self._ends)

    async def begin(self, offsets):
        self.next = list(offsets)
        self._written = [one for one in self._written if one.offset >= offsets[one.partition]]

    async def page(self):
        await self._arrived.wait()
        if self._written is None:
            raise ReadUnavailable("gone")
        page, self._written = self._written[:PAGE], self._written[PAGE:]
        if not self._written:
            self._arrived.clear()
        for one in page:
            self.next[one.partition] = one.offset + 1
        return page

    async def close(self):
        pass


@pytest.fixture
async def log():
    return MemoryLog(range(100))


@pytest.fixture
async def tail(log):
    tail = Tail(log)
    await tail.start()
    yield tail
    await tail.close()


async def keys(tail, number, count):
    found = []
    while len(found) < count:
        page, number = await tail.after(number, 5)
        found += [int(one.key) for one in page]
    return found


async def reach(tail, end):
    while tail.end < end:
        with suppress(Overtaken):
            await tail.after(tail.end, 5)


async def test_what_was_there_and_what_comes_is_read_in_order_by_all(log, tail):
    assert (tail.first, tail.end, tail.high) == (0, 100, [25] * 4)
    readers = [asyncio.create_task(keys(tail, 100, 1200)) for _ in range(20)]
    log.write(*range(1200))
    assert all(found == list(range(1200)) for found in await asyncio.gather(*readers))
    assert await keys(tail, 0, 1300) == [*range(100), *range(1200)]


async def test_nothing_comes_in_time_when_nothing_comes(tail):
    assert await tail.after(100, 0.01) == ([], 100)


async def test_old_changes_make_room_and_a_slow_reader_is_told(log, tail):
    log.write(*range(3 * KEPT))
    await reach(tail, 3 * KEPT + 100)
    assert len(tail._changes) <= KEPT
    with pytest.raises(Overtaken):
        await tail.after(0, 5)
    assert not tail.covers([0] * PARTITIONS)
    assert tail.covers(tail.low)
    assert tail.covers(tail.high)
    kept = [(one.partition, one.offset) for one in tail._changes]
    expected = {(p, o) for p in range(PARTITIONS) for o in range(tail.low[p], tail.high[p])}
    assert set(kept) == expected


class Handover(MemoryLog):
    """What a reader that is behind reads first; when it is done with that, the tail moves on beyond it."""

    async def close(self):
        self.log.write(*range(3 * KEPT))
        await reach(self.tail, self.tail.end + 3 * KEPT)

    def __call__(self, _):
        return self


async def everything(pages, most):
    read = 0
    async for page in pages:
        read += len(page)
        assert read <= most


async def test_a_reader_that_is_overtaken_while_it_comes_over_to_the_tail_is_told(log, tail):
    log.write(*range(3 * KEPT))
    await reach(tail, 3 * KEPT + 100)
    behind = Handover([*range(100), *range(3 * KEPT)])
    behind.log, behind.tail = log, tail
    live = Live(None, domain, None, None)
    live._tails.log = behind
    with pytest.raises(Overtaken):
        await everything(live._changes(domain.views[0], tail, [0] * PARTITIONS), most=3 * KEPT + 100)


async def test_who_catches_up_slowly_gives_his_turn_to_who_waits(log, tail, monkeypatch):
    async def something(pages):
        while not (page := await anext(pages)):
            assert page == ()
        return page

    monkeypatch.setattr(live, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(live, "TURN_SECONDS", 0.0)
    log.write(*range(3 * KEPT))
    await reach(tail, 3 * KEPT + 100)
    streams = Live(None, domain, None, None)
    streams._tails.log = lambda _: MemoryLog(range(3 * KEPT))
    begin = [0] * PARTITIONS
    *slow, last = [streams._changes(domain.views[0], tail, begin) for _ in range(live.CATCHING_UP + 1)]
    for one in slow:
        assert await anext(one)
    async with asyncio.timeout(20):
        assert await anext(last) == ()
        waiting = asyncio.create_task(something(last))
        await asyncio.sleep(0)
        with pytest.raises(Overtaken):
            await anext(slow[0])
        assert await waiting
    for one in slow[1:]:
        assert await anext(one)
    for one in (*slow, last):
        await one.aclose()
    assert streams._catching_up._value == live.CATCHING_UP


async def test_large_rows_make_room_earlier(log, tail):
    log.write(*range(600), value=b"x" * 100_000)
    await reach(tail, 700)
    assert sum(map(weight, tail._changes)) <= KEPT_BYTES
    page, _ = await tail.after(tail.first, 5)
    assert sum(map(weight, page)) < 2 * 1024 * 1024


async def test_when_no_more_can_be_read_all_readers_end(log, tail):
    readers = [asyncio.create_task(tail.after(100, 60)) for _ in range(5)]
    log.fail()
    found = await asyncio.gather(*readers, return_exceptions=True)
    assert {type(one) for one in found} == {ReadUnavailable}


async def test_silence_has_a_heartbeat_that_says_where_the_stream_is(log, tail, monkeypatch):
    monkeypatch.setattr(live, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", 0.0)
    view = domain.views[0]
    stream = Live(None, domain, None, None)._events(view, tail, Wanted(key="no key of these", cursor=[*tail.high]))
    assert await anext(stream) == RETRY

    async def heard():
        comment, told, *_ = (await anext(stream)).decode().splitlines()
        assert comment == ": here"
        return cursor_of(domain, view, told.removeprefix("id: "))

    for _ in range(3):
        assert await heard() == tail.high
    log.write(100, 101)
    await reach(tail, 102)
    async with asyncio.timeout(20):
        while await heard() != [26, 26, 25, 25]:
            pass
    await stream.aclose()
