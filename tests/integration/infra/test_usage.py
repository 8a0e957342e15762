"""What the components use is counted, whatever happens to them between two looks."""

from infra.native import usage


def test_every_running_component_has_used_something(floor):
    seconds, memory = usage.processor_seconds(floor.state), usage.resident_bytes(floor.state)
    assert seconds.keys() == memory.keys() == {"postgres", "kafka"}
    assert all(used > 0 for used in seconds.values())
    assert 100 * 2**20 < memory["kafka"] < 2**30


def test_a_component_that_began_anew_counts_from_its_start():
    assert usage.spent({"kafka": 9.0, "gateway": 1.0}, {"kafka": 2.0, "gateway": 4.0, "late": 0.5}) == {
        "kafka": 2.0,
        "gateway": 3.0,
        "late": 0.5,
    }
