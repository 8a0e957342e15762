"""A right that is missing for long is nothing that an outage is."""

import pytest

from projections.lanes.refusal import Refusal
from tests.unit.projections.test_progress import Clock

WHY = "orders.events: Topic authorization failed"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def refusal(clock):
    return Refusal(clock)


def refused(refusal, clock, seconds, *, denied=True):
    for _ in range(seconds // 5):
        refusal.refused(WHY, denied=denied)
        clock.now += 5


def test_what_is_refused_is_told_at_once_and_is_deadly_within_a_minute(refusal, clock):
    refused(refusal, clock, 40)
    assert (refusal.problem(), refusal.stuck()) == (WHY, None)
    refused(refusal, clock, 15)
    assert refusal.stuck() == f"{WHY}, again and again for 50 s"


def test_what_is_refused_no_more_is_forgotten_soon_and_counts_anew(refusal, clock):
    refused(refusal, clock, 60)
    clock.now += 15
    assert (refusal.problem(), refusal.stuck()) == (None, None)
    refused(refusal, clock, 40)
    assert refusal.stuck() is None


def test_an_outage_after_some_refusals_is_not_deadly_however_long(refusal, clock):
    refused(refusal, clock, 40)
    clock.now += 9
    assert (refusal.problem(), refusal.stuck()) == (WHY, None)
    refusal.over()
    assert refusal.problem() is None
    refused(refusal, clock, 40)
    assert refusal.stuck() is None


def test_what_may_mend_itself_is_told_and_is_not_deadly(refusal, clock):
    refused(refusal, clock, 300, denied=False)
    assert (refusal.problem(), refusal.stuck()) == (WHY, None)


def test_a_denial_counts_from_the_first(refusal, clock):
    refused(refusal, clock, 300, denied=False)
    refused(refusal, clock, 40)
    assert refusal.stuck() is None
    refused(refusal, clock, 15)
    assert refusal.stuck() is not None
