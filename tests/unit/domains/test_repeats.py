"""Who repeats a command while it is in work gets its answer, or is told to come again."""

import asyncio
from dataclasses import replace

import pytest

from domains.answers import Answer
from domains.handler import Request
from domains.repeats import Repeats
from eventstore.records import Exactly, Metadata
from infra.web import Problem

ASKED = Request("1", "place", b"{}", idempotency_key="ann k")
DONE = Answer(201, {}, b"{}")


class Work:
    """Work that goes on until somebody lets it end."""

    def __init__(self, *ends):
        self.goes_on, self.may_end, self.ends, self.begun = asyncio.Event(), asyncio.Event(), list(ends), 0

    async def __call__(self):
        self.begun += 1
        self.goes_on.set()
        await self.may_end.wait()
        end = self.ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end


async def begun(work, *coroutines):
    """The tasks of these, once the work goes on and all others wait."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    await work.goes_on.wait()
    return tasks


def other(**changed):
    return replace(ASKED, metadata=Metadata(request_id="another"), **changed)


async def test_all_get_the_answer_of_the_first():
    repeats, work = Repeats(), Work(DONE)
    tasks = await begun(work, *(repeats.once(asked, work) for asked in (ASKED, other(), other())))
    work.may_end.set()
    assert await asyncio.gather(*tasks) == [DONE] * 3
    assert work.begun == 1


async def test_a_refusal_is_an_answer_too_and_a_later_repeat_asks_again():
    repeats, work = Repeats(), Work(Problem(409, "refused", "no"), DONE)
    tasks = await begun(work, *(repeats.once(ASKED, work) for _ in range(3)))
    work.may_end.set()
    problems = await asyncio.gather(*tasks, return_exceptions=True)
    assert [one.type for one in problems] == ["refused"] * 3
    assert await repeats.once(ASKED, work) == DONE
    assert work.begun == 2


async def test_who_would_wait_for_too_long_is_told_to_come_again():
    repeats, work = Repeats(patience=0.01), Work(DONE)
    (first,) = await begun(work, repeats.once(ASKED, work))
    with pytest.raises(Problem) as told:
        await repeats.once(other(), work)
    assert (told.value.status_code, told.value.type, told.value.headers) == (
        409,
        "request-in-progress",
        {"retry-after": "1"},
    )
    work.may_end.set()
    assert await first == DONE


@pytest.mark.parametrize("changed", [{"body": b"[]"}, {"id": "2"}, {"expected": Exactly(1)}, {"form": 2}], ids=str)
async def test_another_command_under_the_same_key_is_left_to_the_store(changed):
    repeats, work = Repeats(), Work(DONE, Problem(422, "idempotency-conflict", "no"))
    first, second = await begun(work, repeats.once(ASKED, work), repeats.once(other(**changed), work))
    work.may_end.set()
    assert await first == DONE
    with pytest.raises(Problem, match="no"):
        await second


@pytest.mark.parametrize("end", [ZeroDivisionError(), asyncio.CancelledError()], ids=repr)
async def test_when_the_first_ends_without_an_answer_the_next_one_works(end):
    repeats, work = Repeats(), Work(end, DONE)
    first, second = await begun(work, repeats.once(ASKED, work), repeats.once(other(), work))
    work.may_end.set()
    with pytest.raises(type(end)):
        await first
    assert await second == DONE
    assert work.begun == 2


async def test_commands_without_a_key_or_with_others_wait_for_nobody():
    repeats, work = Repeats(), Work(DONE, DONE, DONE)
    keys = (None, None, "ann other")
    tasks = await begun(work, *(repeats.once(other(idempotency_key=key), work) for key in keys))
    assert work.begun == 3
    work.may_end.set()
    assert await asyncio.gather(*tasks) == [DONE] * 3
