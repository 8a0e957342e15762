"""What every event store promises."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid4

import pytest
from msgspec.structs import astuple, replace

from eventstore.errors import InvalidEvent, WrongExpectedVersion
from eventstore.limits import EVENT_BYTES
from eventstore.records import (
    Any,
    Append,
    Appended,
    Exactly,
    IdempotencyKey,
    Metadata,
    NewEvent,
    NoStream,
    Selection,
    Snapshot,
)

MOMENT = datetime(2010, 12, 1, 8, 26, 0, 123456, tzinfo=UTC)
KEY = IdempotencyKey("a-key", b"what was asked")


def event(number=1, **changes):
    return replace(NewEvent("orders.OrderPlaced.v1", b'{"number":%d}' % number, MOMENT), **changes)


def append(stream="orders-1", *events, expected=Any(), key=None):  # noqa: B008
    return Append(stream, events or [event()], expected, key)


async def test_positions_count_the_store_and_versions_the_stream(store):
    assert await store.append(append("orders-1", event(1), event(2))) == Appended("orders-1", 2, 2)
    assert await store.append(append("orders-2")) == Appended("orders-2", 1, 3)
    assert await store.append(append("orders-1")) == Appended("orders-1", 3, 4)
    log = await store.read_log()
    assert [(e.position, e.stream, e.version) for e in log] == [
        (1, "orders-1", 1),
        (2, "orders-1", 2),
        (3, "orders-2", 1),
        (4, "orders-1", 3),
    ]
    assert await store.head() == 4


async def test_an_event_comes_back_as_it_was_handed_in(store):
    metadata = Metadata("ann\u00e4", "request", "correlation", "causation", "00-trace-01")
    given = event(data=b'{ "exact": 1.10, "\xc3\xa4": null }', metadata=metadata)
    began = datetime.now(UTC)
    await store.append(append("orders-\u00e4 1%/..", given))
    [found] = await store.read_stream("orders-\u00e4 1%/..")
    assert (found.id, found.type, found.data, found.metadata) == (given.id, given.type, given.data, metadata)
    assert (found.position, found.version) == (1, 1)
    assert (found.time, found.time.tzname()) == (MOMENT, "UTC")
    assert began - timedelta(seconds=5) < found.recorded_at < datetime.now(UTC) + timedelta(seconds=5)


async def test_a_time_with_another_zone_is_the_same_moment(store):
    await store.append(append("orders-1", event(time=MOMENT.astimezone(timezone(timedelta(hours=5))))))
    [found] = await store.read_log()
    assert found.time == MOMENT
    assert found.time.utcoffset() == timedelta(0)


async def test_recorded_times_never_go_back(store):
    for number in range(20):
        await store.append(append(f"orders-{number % 3}"))
    times = [e.recorded_at for e in await store.read_log()]
    assert times == sorted(times)


@pytest.mark.parametrize("expected", [Any(), NoStream(), Exactly(0)], ids=str)
async def test_a_new_stream_is_any_or_none_or_at_zero(store, expected):
    assert (await store.append(append(expected=expected))).version == 1


@pytest.mark.parametrize("expected", [Any(), Exactly(2)], ids=str)
async def test_a_stream_that_stands_where_it_is_expected_is_appended_to(store, expected):
    await store.append(append("orders-1", event(1), event(2)))
    assert (await store.append(append(expected=expected))).version == 3


@pytest.mark.parametrize("expected", [NoStream(), Exactly(0), Exactly(1), Exactly(3), Exactly(2**61)], ids=str)
async def test_a_stream_that_stands_elsewhere_is_a_conflict_and_nothing_is_written(store, expected):
    await store.append(append("orders-1", event(1), event(2)))
    with pytest.raises(WrongExpectedVersion) as conflict:
        await store.append(append(expected=expected))
    assert (conflict.value.stream, conflict.value.expected, conflict.value.actual) == ("orders-1", expected, 2)
    assert await store.head() == 2


async def test_a_missing_stream_that_is_expected_is_a_conflict(store):
    with pytest.raises(WrongExpectedVersion) as conflict:
        await store.append(append(expected=Exactly(1)))
    assert conflict.value.actual == 0


async def test_of_many_at_once_one_wins_and_the_others_get_their_own_answer(store):
    appends = [append(expected=NoStream()) for _ in range(20)] + [append(f"orders-x{n}") for n in range(20)]
    answers = await asyncio.gather(*map(store.append, appends), return_exceptions=True)
    assert [type(answer) for answer in answers].count(Appended) == 21
    assert [type(answer) for answer in answers].count(WrongExpectedVersion) == 19
    assert [e.position for e in await store.read_log()] == list(range(1, 22))


async def test_appends_to_one_stream_at_once_keep_their_order(store):
    answers = await asyncio.gather(*(store.append(append("orders-1", event(n))) for n in range(30)))
    assert [answer.version for answer in answers] == list(range(1, 31))
    assert [e.data for e in await store.read_stream("orders-1")] == [b'{"number":%d}' % n for n in range(30)]


async def test_each_of_many_writers_counts_on(store):
    async def write(writer):
        for version in range(10):
            await store.append(append(f"orders-{writer}", event(version), expected=Exactly(version)))

    await asyncio.gather(*map(write, range(10)))
    log = await store.read_log()
    assert [e.position for e in log] == list(range(1, 101))
    for writer in range(10):
        assert [e.version for e in log if e.stream == f"orders-{writer}"] == list(range(1, 11))


async def test_an_append_without_events_answers_where_the_stream_stands(store):
    await store.append(append("orders-1", event(1), event(2)))
    await store.append(append("orders-2"))
    assert await store.append(Append("orders-1", [], Exactly(2), KEY)) == Appended("orders-1", 2, 2)
    assert await store.append(Append("orders-1", [], Any(), KEY)) == Appended("orders-1", 2, 2, repeated=True)
    assert await store.append(Append("orders-9", [], NoStream())) == Appended("orders-9", 0, 0)
    with pytest.raises(WrongExpectedVersion):
        await store.append(Append("orders-9", [], Exactly(1)))
    assert await store.head() == 3


async def test_a_stream_is_read_in_pages_and_to_a_version(store):
    await store.append(append("orders-1", *(event(n) for n in range(10))))
    await store.append(append("orders-10"))

    async def versions(**bounds):
        return [e.version for e in await store.read_stream("orders-1", **bounds)]

    assert await versions() == list(range(1, 11))
    assert await versions(limit=3) == [1, 2, 3]
    assert await versions(after=3, limit=3) == [4, 5, 6]
    assert await versions(after=3, until=5) == [4, 5]
    assert await versions(until=2) == [1, 2]
    assert await versions(after=10) == []
    assert await versions(until=0) == []
    assert await versions(after=2**70) == []
    assert await versions(after=-5, until=2**70) == list(range(1, 11))
    assert await versions(limit=0) == []
    assert await versions(limit=-1) == []
    assert list(await store.read_stream("orders-99")) == []


async def test_a_stream_is_read_backward(store):
    await store.append(append("orders-1", *(event(n) for n in range(10))))
    await store.append(append("orders-10"))

    async def versions(**bounds):
        return [e.version for e in await store.read_stream("orders-1", backward=True, **bounds)]

    assert await versions() == list(range(10, 0, -1))
    assert await versions(limit=1) == [10]
    assert await versions(until=7, limit=3) == [7, 6, 5]
    assert await versions(after=3, until=5) == [5, 4]
    assert await versions(after=10) == []
    assert await versions(until=-1) == []


async def test_a_stream_is_read_as_it_stood_at_a_time(store):
    await store.append(append("orders-1", event(1), event(2)))
    [first, _] = await store.read_stream("orders-1")
    await store.append(append("orders-1", event(3)))
    [*_, last] = await store.read_stream("orders-1")

    async def versions(moment, **bounds):
        return [e.version for e in await store.read_stream("orders-1", recorded_until=moment, **bounds)]

    assert await versions(first.recorded_at - timedelta(microseconds=1)) == []
    assert await versions(last.recorded_at) == [1, 2, 3]
    assert await versions(last.recorded_at, backward=True, limit=2) == [3, 2]
    assert await versions(first.recorded_at.astimezone(timezone(timedelta(hours=-9))), after=1) == [2]
    if last.recorded_at > first.recorded_at:
        assert await versions(first.recorded_at) == [1, 2]
    with pytest.raises(InvalidEvent, match="no time zone"):
        await versions(datetime(2010, 12, 1))  # noqa: DTZ001


async def test_the_log_is_read_by_category_by_type_and_by_what_belongs_together(store):
    mine, other = Metadata(correlation_id="c-1"), Metadata(correlation_id="c-2", request_id="c-1")
    await store.append(append("orders-1", event(1, metadata=mine), event(2, type="orders.OrderCancelled.v1")))
    await store.append(append("orders2-1", event(3, metadata=mine), event(4, metadata=other)))
    await store.append(append("orders-2", event(5, metadata=other)))

    async def positions(after=0, limit=1000, **only):
        return [e.position for e in await store.read_log(after=after, limit=limit, only=Selection(**only))]

    assert await positions() == [1, 2, 3, 4, 5]
    assert await positions(category="orders") == [1, 2, 5]
    assert await positions(category="orders", after=1, limit=1) == [2]
    assert await positions(category="order") == []
    assert await positions(types=["orders.OrderCancelled.v1"]) == [2]
    assert await positions(types=["orders.OrderCancelled.v1", "orders.OrderPlaced.v1"], category="orders2") == [3, 4]
    assert await positions(correlation_id="c-1") == [1, 3]
    assert await positions(correlation_id="c-1", category="orders2") == [3]
    assert await positions(correlation_id="c-2", after=4) == [5]
    assert await positions(correlation_id="c-2", limit=1) == [4]
    assert await positions(correlation_id="c'; --") == []
    assert await positions(correlation_id="c-2", types=["orders.OrderCancelled.v1"]) == []


@pytest.mark.parametrize("only", [{"category": ""}, {"correlation_id": "a\x00"}, {"types": ["x" * 300]}])
async def test_a_selection_that_can_hold_for_nothing_is_refused(store, only):
    with pytest.raises(InvalidEvent):
        await store.read_log(only=Selection(**only))


async def test_the_log_is_read_in_pages(store):
    await store.append(append("orders-1", *(event(n) for n in range(10))))
    assert [e.position for e in await store.read_log(after=4, limit=3)] == [5, 6, 7]
    assert list(await store.read_log(after=10)) == []
    assert [e.position for e in await store.read_log(after=-1)] == list(range(1, 11))
    bare = [(e.position, e.stream, e.version, e.type, e.time, e.data) for e in await store.read_log()]
    assert [astuple(e) for e in await store.read_bare()] == bare
    assert [e.position for e in await store.read_bare(after=4, limit=3)] == [5, 6, 7]
    assert list(await store.read_bare(after=10)) == list(await store.read_bare(limit=0)) == []
    assert list(await store.detached_ends()) == [], "nothing was taken out"


async def test_a_stream_is_read_from_its_newest_snapshot_of_a_type(store):
    await store.append(append("orders-1", *(event(n) for n in range(10))))

    async def read(type="fold.1", stream="orders-1", **bounds):
        kept, page = await store.read_from_snapshot(stream, type, **bounds)
        return kept and (kept.version, kept.data), [e.version for e in page]

    assert await read() == (None, list(range(1, 11)))
    await store.keep_snapshot(Snapshot("orders-1", 4, "fold.1", b"four"))
    await store.keep_snapshot(Snapshot("orders-1", 7, "fold.1", b"seven"))
    assert await read() == ((7, b"seven"), [8, 9, 10])
    assert await read(limit=2) == ((7, b"seven"), [8, 9])
    assert await read("fold.2") == (None, list(range(1, 11)))
    assert await read("fold.2", limit=3) == (None, [1, 2, 3])
    await store.keep_snapshot(Snapshot("orders-1", 7, "fold.2", b"other"))
    assert await read("fold.2") == ((7, b"other"), [8, 9, 10])
    assert await read() == (None, list(range(1, 11)))
    assert await read(stream="orders-2") == (None, [])
    [*_, last] = await store.read_stream("orders-1")
    assert (await store.read_from_snapshot("orders-1", "fold.2"))[1][-1] == last


@pytest.mark.parametrize(
    "wrong",
    [Snapshot("orders", 1, "fold", b""), Snapshot("orders-1", 0, "fold", b""), Snapshot("orders-1", 1, "", b"")],
)
async def test_what_is_no_snapshot_is_refused(store, wrong):
    with pytest.raises(InvalidEvent):
        await store.keep_snapshot(wrong)


async def test_an_empty_store_is_at_zero(store):
    assert await store.head() == 0
    assert list(await store.read_log()) == []


async def test_who_waits_for_more_is_woken(store):
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        waiting = group.create_task(store.wait_beyond(0, 15))
        await asyncio.sleep(0)
        await store.append(append())
    assert waiting.result() == 1


async def test_who_waits_for_what_is_there_does_not_wait(store):
    await store.append(append("orders-1", event(1), event(2)))
    async with asyncio.timeout(10):
        assert await store.wait_beyond(1, 60) == 2


async def test_who_waits_in_vain_learns_the_head(store):
    await store.append(append())
    assert await store.wait_beyond(1, 0.05) == 1
    assert await store.wait_beyond(7, 0.05) == 1


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (append("orders"), "no stream name"),
        (append("-1"), "no stream name"),
        (append("orders-"), "no stream name"),
        (append(""), "0 characters"),
        (append("orders-" + "x" * 1000), "1007 characters, 1 to 255"),
        (append("orders-\x00"), "NUL"),
        (append("orders-\n1"), "no stream name"),
        (append("orders-\ud800"), "not Unicode"),
        (append("or/ders-1"), "no stream name"),
        (append("orders-1", event(type="")), "event type"),
        (append("orders-1", event(type="a\x00b")), "NUL"),
        (append("orders-1", event(type="x" * 256)), "256 characters"),
        (append("orders-1", event(data=b"x" * (EVENT_BYTES + 1))), f"1048577 bytes, at most {EVENT_BYTES}"),
        (append("orders-1", event(time=MOMENT.replace(tzinfo=None))), "no time zone"),
        (append("orders-1", event(time=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=3))))), "out of range"),
        (append("orders-1", event(metadata=Metadata(actor="a\x00"))), "actor contains NUL"),
        (append("orders-1", event(metadata=Metadata(request_id="x" * 1025))), "request_id of 1025"),
        (append("orders-1", *[event(id=uuid4())] * 2), "same id"),
        (append(expected=Exactly(-1)), "no version"),
        (append(expected=Exactly(2**64)), "no version"),
        (append(key=IdempotencyKey("", b"x")), "idempotency key"),
        (append(key=IdempotencyKey("k\x00", b"x")), "NUL"),
        (append(key=IdempotencyKey("k", b"")), "fingerprint"),
        (append("orders-1", *[event()] * 10_001), "10001 events"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_recorded_is_refused_and_its_neighbours_are_not(store, wrong, reason):
    answers = await asyncio.gather(
        store.append(append("orders-7")), store.append(wrong), store.append(append("orders-8")), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [Appended, InvalidEvent, Appended]
    assert reason in str(answers[1])
    assert await store.head() == 2


async def test_the_largest_event_is_recorded(store):
    data = b'"' + b"x" * (EVENT_BYTES - 2) + b'"'
    await store.append(append("orders-1", event(data=data)))
    [found] = await store.read_log()
    assert found.data == data


async def test_a_wrong_stream_name_is_refused_when_reading_too(store):
    with pytest.raises(InvalidEvent):
        await store.read_stream("orders-\x00")


async def test_a_caller_who_gives_up_harms_nobody(store):
    impatient = asyncio.create_task(store.append(append("orders-1")))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    answer = await store.append(append("orders-2"))
    assert [e.position for e in await store.read_log()] == list(range(1, answer.position + 1))
