"""Questions that come in one turn of the loop are asked together, and fail alone."""

import asyncio

import pytest

from eventstore.errors import EventsDetached, StoreUnavailable
from eventstore.joint import MOST, Joint


class Oracle:
    """Answers each question with itself, and remembers how it was asked."""

    def __init__(self):
        self.asked, self.error, self.broken = [], None, frozenset()

    async def __call__(self, questions):
        self.asked.append(list(questions))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        if self.broken.intersection(questions):
            raise EventsDetached("not here")
        return [-question for question in questions]


async def test_what_is_asked_in_one_turn_is_asked_together():
    oracle = Oracle()
    joint = Joint(oracle)
    assert await asyncio.gather(*map(joint.answer, range(5))) == [0, -1, -2, -3, -4]
    assert await joint.answer(7) == -7
    assert oracle.asked == [[0, 1, 2, 3, 4], [7]]


async def test_a_crowd_is_asked_in_parts():
    oracle = Oracle()
    joint = Joint(oracle)
    assert await asyncio.gather(*map(joint.answer, range(MOST + 1))) == [-n for n in range(MOST + 1)]
    assert [len(part) for part in oracle.asked] == [MOST, 1]


async def test_what_cannot_be_answered_fails_alone():
    oracle = Oracle()
    oracle.broken = frozenset({2})
    first, second, third = await asyncio.gather(*map(Joint(oracle).answer, (1, 2, 3)), return_exceptions=True)
    assert (first, third) == (-1, -3)
    assert isinstance(second, EventsDetached)


async def test_a_store_that_is_away_is_asked_once():
    oracle = Oracle()
    oracle.error = StoreUnavailable("away")
    told = await asyncio.gather(*map(Joint(oracle).answer, (1, 2)), return_exceptions=True)
    assert told == [oracle.error] * 2
    assert oracle.asked == [[1, 2]]


async def test_an_unforeseen_error_reaches_who_asked():
    oracle = Oracle()
    oracle.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await Joint(oracle).answer(1)


async def test_who_gives_up_disturbs_nobody():
    joint = Joint(Oracle())
    impatient, patient = asyncio.create_task(joint.answer(1)), asyncio.create_task(joint.answer(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == -2
