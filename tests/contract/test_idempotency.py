"""What every event store promises of idempotency keys: one answer, whatever is asked under them again."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from msgspec.structs import replace

from eventstore.errors import IdempotencyConflict, InvalidEvent, WrongExpectedVersion
from eventstore.records import Any, Append, Exactly, IdempotencyKey, NewEvent, NoStream

MOMENT = datetime(2010, 12, 1, 8, 26, 0, 123456, tzinfo=UTC)
KEY = IdempotencyKey("a-key", b"what was asked")


def event(number=1):
    return NewEvent("orders.OrderPlaced.v1", b'{"number":%d}' % number, MOMENT)


def append(stream="orders-1", *events, expected=Any(), key=None):  # noqa: B008
    return Append(stream, events or [event()], expected, key)


async def test_the_same_key_again_is_answered_as_before(store):
    command = append("orders-1", event(1), event(2), expected=NoStream(), key=KEY)
    first = await store.append(command)
    await store.append(append("orders-1"))
    assert await store.append(command) == replace(first, repeated=True)
    assert await store.answered(KEY) == replace(first, repeated=True)
    assert await store.head() == 3


async def test_the_same_key_at_once_is_recorded_once(store):
    answers = await asyncio.gather(*(store.append(append("orders-1", event(n), key=KEY)) for n in range(10)))
    assert sorted(answer.repeated for answer in answers) == [False] + [True] * 9
    assert {(answer.version, answer.position) for answer in answers} == {(1, 1)}
    assert await store.head() == 1


async def test_the_same_key_for_another_command_is_refused(store):
    await store.append(append(key=KEY))
    other = replace(KEY, fingerprint=b"something else")
    with pytest.raises(IdempotencyConflict, match="a-key"):
        await store.append(append(key=other))
    with pytest.raises(IdempotencyConflict):
        await store.answered(other)
    assert await store.head() == 1


async def test_a_conflict_leaves_no_answer_behind(store):
    with pytest.raises(WrongExpectedVersion):
        await store.append(append(expected=Exactly(7), key=KEY))
    assert await store.answered(KEY) is None
    assert (await store.append(append(key=KEY))).repeated is False


async def test_what_was_refused_under_a_key_stays_refused_under_it(store):
    refused = await store.refuse(KEY, "orders-1", b"no")
    assert (refused.stream, refused.version, refused.position, refused.refusal) == ("orders-1", 0, 0, b"no")
    assert await store.append(append("orders-1", event(1), key=KEY)) == refused
    assert await store.append_together([append("orders-2", event(1))], idempotency=KEY) == refused
    assert await store.refuse(KEY, "orders-1", b"something else") == refused
    assert await store.answered(KEY) == refused
    assert await store.head() == 0
    for other in (store.answered, partial(store.refuse, stream="orders-1", refusal=b"no")):
        with pytest.raises(IdempotencyConflict):
            await other(replace(KEY, fingerprint=b"something else"))
    assert await store.expire_keys(timedelta()) == 1
    assert (await store.append(append("orders-1", event(1), key=KEY))).refusal is None


async def test_what_was_done_under_a_key_is_refused_no_more(store):
    first = await store.append(append("orders-1", event(1), key=KEY))
    assert await store.refuse(KEY, "orders-1", b"no") == replace(first, repeated=True)


async def test_who_does_and_who_refuses_the_same_at_once_get_one_answer(store):
    for n in range(20):
        key = replace(KEY, key=f"key-{n}")
        answers = await asyncio.gather(
            store.append(append(f"orders-{n}", event(1), key=key)),
            store.append(append(f"others-{n}", event(1))),
            *(store.refuse(key, f"orders-{n}", b"no") for _ in range(3)),
            store.append(append(f"orders-{n}", event(1), key=key)),
        )
        told = {(one.version, one.position, one.refusal) for nth, one in enumerate(answers) if nth != 1}
        assert len(told) == 1, told
        assert await store.read_stream(f"others-{n}"), "nobody else is refused for it"


@pytest.mark.parametrize(("stream", "refusal"), [("orders", b"no"), ("orders-1", bytes(2 * 1024 * 1024))])
async def test_a_refusal_that_cannot_be_kept_is_refused(store, stream, refusal):
    with pytest.raises(InvalidEvent):
        await store.refuse(KEY, stream, refusal)


async def test_an_unknown_key_has_no_answer(store):
    assert await store.answered(KEY) is None


async def test_an_old_key_is_forgotten_and_what_it_did_is_not(store):
    first = await store.append(append(key=KEY))
    assert await store.expire_keys(timedelta(hours=1)) == 0
    assert await store.answered(KEY) == replace(first, repeated=True)
    assert await store.expire_keys(timedelta()) == 1
    assert await store.answered(KEY) is None
    again = await store.append(append(key=replace(KEY, fingerprint=b"another")))
    assert (again.version, again.repeated) == (2, False)
