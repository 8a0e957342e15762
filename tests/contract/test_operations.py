"""Operations, in memory and in PostgreSQL: accepted once, answered once, forgotten in time."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from eventstore.errors import IdempotencyConflict
from eventstore.operations import MemoryOperations, Operation, PostgresOperations

ASKED = Operation("orders-1", "ann", b"what was asked", outside=b"what can be read", keys=(uuid4(), uuid4()))


@pytest.fixture(params=["memory", "postgres"])
async def operations(request):
    if request.param == "memory":
        yield MemoryOperations()
    else:
        async with PostgresOperations.open(request.getfixturevalue("postgres")) as kept:
            yield kept


async def test_what_was_accepted_is_found_and_accepting_again_changes_nothing(operations):
    assert await operations.find("orders-1") is None
    assert await operations.accept(ASKED) == ASKED
    assert await operations.accept(ASKED) == ASKED
    assert await operations.find("orders-1") == ASKED


async def test_the_first_answer_stays(operations):
    await operations.accept(ASKED)
    await operations.answer("orders-1", b"yes")
    await operations.answer("orders-1", b"no")
    await operations.answer("orders-2", b"of nothing")
    assert (await operations.find("orders-1")).answer == b"yes"
    assert (await operations.accept(ASKED)).answer == b"yes"
    assert await operations.find("orders-2") is None


@pytest.mark.parametrize("other", [{"owner": "bob"}, {"fingerprint": b"something else"}])
async def test_the_same_id_for_something_else_is_refused(operations, other):
    await operations.accept(ASKED)
    with pytest.raises(IdempotencyConflict):
        await operations.accept(replace(ASKED, **other))


async def test_they_are_forgotten_in_time(operations):
    await operations.accept(ASKED)
    await operations.expire(timedelta(hours=1))
    assert await operations.find("orders-1") == ASKED
    await operations.expire(timedelta(0))
    assert await operations.find("orders-1") is None


async def test_a_lost_connection_is_replaced(postgres):
    async with PostgresOperations.open(postgres) as kept:
        await kept.accept(ASKED)
        await kept._connection.close()
        assert await kept.find("orders-1") == ASKED


async def test_however_many_they_are_no_statement_forgets_more_than_a_page(postgres, monkeypatch):
    monkeypatch.setattr("eventstore.operations.PAGE", 3)
    async with PostgresOperations.open(postgres) as kept:
        for number in range(7):
            await kept.accept(replace(ASKED, id=f"orders-{number}"))
        asked = []
        run = kept._run
        monkeypatch.setattr(kept, "_run", lambda *told, **given: asked.append(given) or run(*told, **given))
        await kept.expire(timedelta(0))
        assert [given["limit"] for given in asked] == [3, 3, 3]
        assert [await kept.find(f"orders-{number}") for number in range(7)] == [None] * 7
