"""A process is ready when none of its checks gives a reason why not."""

from infra.health import Health


def test_without_checks_there_is_nothing_to_wait_for():
    assert Health().ready


def test_one_reason_is_enough():
    health = Health()
    health.check("store", lambda: None)
    health.check("relay", lambda: "no leader")
    assert not health.ready
    assert health.reasons() == {"store": None, "relay": "no leader"}


def test_a_check_of_the_same_name_takes_the_place():
    health = Health()
    health.check("service", lambda: "starting")
    health.check("service", lambda: None)
    assert health.ready


def test_a_check_that_fails_is_a_reason(caplog):
    health = Health()
    health.check("store", {}.popitem)
    assert not health.ready
    assert "the readiness check store failed" in caplog.text
