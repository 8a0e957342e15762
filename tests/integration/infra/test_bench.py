"""Servers that run for a measurement only."""

import pytest

from domains.plan import plan
from infra.bench.servers import running
from infra.errors import StartFailed
from infra.native import Native
from infra.plan import Job, Plan

REFUSES = Job("refuses", "timeit", ("-n", "1", "-r", "1", "1 / 0"), "orders-migrate", "anything")


@pytest.fixture
def system(floor):
    native = Native(floor.folder.with_name(f"{floor.folder.name}-bench"), plan(), floor.cache)
    yield native
    native.down()


def test_a_server_stops_with_the_measurement_unless_it_ran_before(system):
    with running(system, "postgres"):
        before = system.state.running("postgres")
        with running(system, "postgres"):
            pass
        assert system.state.running("postgres") == before
    assert system.state.running("postgres") is None


def test_what_could_not_be_made_ready_is_stopped_too(system):
    system.plan = plan() + Plan(jobs=(REFUSES,))
    with pytest.raises(StartFailed, match="refuses"), running(system, "postgres"):
        pass
    assert system.state.running("postgres") is None
