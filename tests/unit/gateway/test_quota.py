"""Never more than the quota in any span, and as much as the quota when it is asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.quota import Ledger, Quota, Window

steps = st.lists(st.tuples(st.floats(0.0, 30.0), st.integers(1, 8)), min_size=1, max_size=60)


@given(steps)
def test_no_span_has_more_than_the_quota(asked):
    quota, now, taken = Quota(10, 20), 1000.0, []
    window = Window(quota)
    for pause, units in asked:
        now += pause
        granted = window.take(units, now)
        taken.append((now, granted))
        assert 0 <= granted <= units
        assert window.left >= 0
        assert sum(units for when, units in taken if when > now - quota.seconds) <= quota.units


@given(steps)
def test_after_the_wait_that_was_told_there_is_one_more(asked):
    quota, now = Quota(10, 20), 1000.0
    window = Window(quota)
    for pause, units in asked:
        now += pause
        window.take(units, now)
        if not window.left:
            now += window.frees_in(now) + 0.001
            assert window.take(1, now) == 1


def test_what_was_used_comes_back_no_later_than_a_400th_after_the_span():
    window = Window(Quota(10, 20))
    assert window.take(10, 1000.0) == 10
    assert window.take(1, 1019.9) == 0
    assert 20.0 <= window.frees_in(1000.0) <= 20.051
    assert window.take(10, 1020.051) == 10


def test_a_steady_client_gets_its_rate():
    window = Window(Quota(100, 10))
    granted = sum(window.take(1, 1000.0 + tick / 50) for tick in range(50 * 60))
    assert granted == pytest.approx(100 * 6, rel=0.02)


def test_of_too_many_keys_the_oldest_are_forgotten():
    ledger = Ledger(Quota(1, 10), most_keys=2)
    assert [ledger.window(key).take(1, 0.0) for key in ("a", "b", "a", "c", "a", "b")] == [1, 1, 0, 1, 0, 1]
