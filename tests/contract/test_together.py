"""Appends of several streams, and conditions on the log: all or nothing, in every store."""

import asyncio
from datetime import UTC, datetime

import pytest

from eventstore.batch import Command
from eventstore.errors import ConditionFailed, IdempotencyConflict, InvalidEvent, WrongExpectedVersion
from eventstore.postgres import PostgresStore
from eventstore.records import (
    Any,
    Append,
    Appended,
    Condition,
    Exactly,
    IdempotencyKey,
    Metadata,
    NewEvent,
    NoStream,
    Selection,
)

MOMENT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
KEY = IdempotencyKey("a-key", b"what was asked")


def event(tags=None, type="courses.Booked.v1"):
    return NewEvent(type, b"{}", MOMENT, Metadata(tags=tags))


def part(stream, *events, expected=Any()):  # noqa: B008
    return Append(stream, events or [event()], expected)


async def places(store):
    return [(each.position, each.stream, each.version) for each in await store.read_log()]


async def test_several_streams_are_appended_to_at_once(store):
    await store.append(part("courses-1"))
    done = await store.append_together(
        [part("courses-1", event(), event(), expected=Exactly(1)), part("students-7", expected=NoStream())]
    )
    assert (done.stream, done.version, done.position, done.repeated) == ("courses-1", 3, 4, False)
    assert await places(store) == [
        (1, "courses-1", 1),
        (2, "courses-1", 2),
        (3, "courses-1", 3),
        (4, "students-7", 1),
    ]


async def test_one_stream_that_stands_elsewhere_keeps_back_all(store):
    await store.append(part("courses-1"))
    with pytest.raises(WrongExpectedVersion) as conflict:
        await store.append_together([part("students-7"), part("courses-1", expected=Exactly(0))])
    assert (conflict.value.stream, conflict.value.actual) == ("courses-1", 1)
    assert len(await places(store)) == 1


async def test_the_same_key_again_is_answered_as_before(store):
    parts = [part("courses-1"), part("students-7")]
    first = await store.append_together(parts, idempotency=KEY)
    again = await store.append_together(parts, idempotency=KEY, condition=Condition(0, [Selection()]))
    assert (again.position, again.version, again.repeated) == (first.position, first.version, True)
    with pytest.raises(IdempotencyConflict):
        await store.append_together(parts, idempotency=IdempotencyKey(KEY.key, b"something else"))
    assert len(await places(store)) == 2


@pytest.mark.parametrize(
    ("selection", "fails"),
    [
        (Selection(), True),
        (Selection(tags=["course:1"]), True),
        (Selection(tags=["course:1", "student:7"]), True),
        (Selection(tags=["course:1", "student:8"]), False),
        (Selection(tags=["course:11"]), False),
        (Selection(tags=["course"]), False),
        (Selection(types=["courses.Booked.v1"], tags=["course:1"]), True),
        (Selection(types=["courses.Cancelled.v1"], tags=["course:1"]), False),
        (Selection(category="courses"), True),
        (Selection(category="students"), False),
    ],
)
async def test_a_condition_fails_upon_an_event_that_one_of_its_selections_takes(store, selection, fails):
    await store.append(part("courses-1", event("course:1 student:7")))
    appending = store.append_together([part("courses-2")], condition=Condition(0, [Selection(types=["x"]), selection]))
    if fails:
        with pytest.raises(ConditionFailed) as failed:
            await appending
        assert failed.value.position == 1
    else:
        await appending
    assert len(await places(store)) == (1 if fails else 2)
    await store.append_together([part("courses-3")], condition=Condition(await store.head(), [selection]))


async def test_the_log_is_read_by_tags(store):
    await store.append(part("courses-1", event("course:1"), event("course:1 student:7"), event()))
    await store.append(part("students-7", event("student:7", type="students.Moved.v1")))

    async def positions(**only):
        return [each.position for each in await store.read_log(only=Selection(**only))]

    assert await positions(tags=["course:1"]) == [1, 2]
    assert await positions(tags=["student:7"]) == [2, 4]
    assert await positions(tags=["student:7"], category="courses") == [2]
    assert await positions(tags=["student:7"], types=["students.Moved.v1"]) == [4]
    assert await positions(tags=["student:7", "course:1"]) == [2]
    assert await positions(tags=["';--"]) == []


async def test_a_course_is_never_overbooked_however_many_want_in(store):
    """What a stream's version can't guard: at most three seats of a course, and two courses of a student."""

    async def book(student):
        course, me = Selection(tags=["course:1"]), Selection(tags=[f"student:{student}"])
        for _ in range(30):
            after = await store.head()
            if len(await store.read_log(only=course)) >= 3:
                return False
            try:
                booked = part(f"students-{student}", event(f"course:1 student:{student}"))
                await store.append_together([booked], condition=Condition(after, [course, me]))
            except ConditionFailed:
                continue
            return True
        return False

    booked = await asyncio.gather(*(book(student) for student in range(12)))
    assert sum(booked) == 3 == len(await store.read_log())


async def test_a_condition_sees_what_is_appended_beside_it(store):
    """One batch or many: whoever is answered that nothing was there was right at its position."""
    free = Condition(0, [Selection(tags=["email:ann"])])

    async def register(number):
        try:
            return await store.append_together([part(f"users-{number}", event("email:ann"))], condition=free)
        except ConditionFailed as failed:
            return failed.position

    others = [store.append(part(f"courses-{number}")) for number in range(20)]
    found = await asyncio.gather(*(register(number) for number in range(8)), *others)
    taken = [one for one in found[:8] if not isinstance(one, int)]
    assert len(taken) == 1
    assert {one for one in found[:8] if isinstance(one, int)} == {taken[0].position}


@pytest.mark.parametrize(
    ("parts", "more"),
    [
        ([], {}),
        ([part("courses-1"), part("courses-1")], {}),
        ([Append("courses-1", [event()], Any(), KEY)], {}),
        ([part("courses")], {}),
        ([part("courses-1", event("a\x00"))], {}),
        ([part("courses-1")], {"condition": Condition(0, [])}),
        ([part("courses-1")], {"condition": Condition(0, [Selection(tags=["a b"])])}),
        ([part("courses-1")], {"condition": Condition(0, [Selection(tags=[""])])}),
    ],
)
async def test_what_cannot_be_appended_together_is_refused(store, parts, more):
    with pytest.raises(InvalidEvent):
        await store.append_together(parts, **more)
    assert await places(store) == []


# Text that no index can make shorter.
LONG = "".join(chr(0x20000 + number * 7919 % 0xA000) for number in range(1000))


async def test_a_tag_that_is_too_long_is_refused(store):
    with pytest.raises(InvalidEvent, match="a tag of 4000 bytes"):
        await store.append(part("courses-1", event(f"course:1 {LONG}")))
    await store.append(part("courses-1", event(f"course:1 {LONG[:512]} {LONG[512:900]}")))
    assert await places(store) == [(1, "courses-1", 1)]


async def test_what_the_server_finds_too_large_is_refused_and_its_neighbours_are_not(postgres):
    async with PostgresStore.open(postgres) as store:
        parts = [part(f"courses-{number}", event(LONG if number == 3 else None)) for number in range(8)]
        waiting = [store._committer.append(Command.of(one)) for one in parts]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Appended] * 3 + [InvalidEvent] + [Appended] * 4
        assert await store.head() == 7
