"""A service that fails is left in peace, and tried again by one request at a time."""

from gateway.breaker import Breaker, Budget


def broken(failures=3):
    breaker = Breaker(failures=failures, shortest=1.0, longest=4.0)
    for _ in range(failures):
        breaker.failed(now=0.0)
    return breaker


def test_a_few_failures_open_nothing():
    breaker = Breaker(failures=3)
    breaker.failed(0.0)
    breaker.failed(0.0)
    assert breaker.allows(0.0)
    breaker.succeeded()
    breaker.failed(0.0)
    assert breaker.allows(0.0)


def test_after_failures_in_a_row_nothing_is_sent_for_a_while():
    breaker = broken()
    assert not breaker.allows(0.5)
    assert breaker.allows(1.0)
    assert 0.8 <= breaker.waits(0.0) <= 1.0


def test_operators_are_told_how_it_stands():
    breaker = Breaker(failures=2)
    told = [breaker.told(0.0)["state"]]
    for _ in range(2):
        breaker.failed(0.0)
        told.append(breaker.told(0.0)["state"])
    assert told == ["well", "failing", "set aside"]
    assert breaker.told(0.0)["failures"] == 2
    assert 0.4 <= breaker.told(0.0)["asked_again_in"] <= 0.5


def test_one_request_tries_and_the_others_wait_for_it():
    breaker = broken()
    breaker.begins(1.0)
    assert not breaker.allows(1.5)
    breaker.succeeded()
    assert breaker.allows(1.5)


def test_the_pauses_grow_up_to_a_bound():
    breaker, pauses, now = broken(), [], 0.0
    for _ in range(5):
        now += breaker.waits(now)
        breaker.begins(now)
        breaker.failed(now)
        pauses.append(breaker.waits(now))
    assert 1.6 <= pauses[0] <= 2.0
    assert all(3.2 <= pause <= 4.0 for pause in pauses[1:])


def test_repeats_are_a_tenth_of_what_is_asked():
    budget = Budget()
    assert sum(budget.spend() for _ in range(100)) == 10
    for _ in range(50):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) in (4, 5)
