"""What is started is found again and ended: also what has crashed, and what nobody has written down."""

import signal
import sys

import psutil
import pytest

from infra.native.state import State
from infra.native.supervisor import Supervisor

WAITS = (sys.executable, "-c", "import signal; signal.pause()")


@pytest.fixture
def supervisor(tmp_path):
    supervisor = Supervisor(State(tmp_path))
    yield supervisor
    supervisor.end_forgotten()
    supervisor.stop([*supervisor._state.known(), *supervisor._children])


def started(supervisor, name):
    supervisor.spawn(name, WAITS, {})
    return supervisor._state.running(name)


def test_what_has_crashed_is_stopped_once_it_was_stopped(supervisor):
    process = started(supervisor, "gateway")
    supervisor.kill("gateway")
    supervisor.stop(["gateway"])
    assert not process.is_running()
    assert supervisor._state.known() == []


@pytest.mark.parametrize("lost", ["one", "all"])
def test_what_was_started_and_not_written_down_is_found_and_ended(supervisor, lost):
    forgotten, known = started(supervisor, "gateway"), started(supervisor, "issuer")
    if lost == "one":
        supervisor._state.ended("gateway")
    else:
        supervisor._state.file.unlink()
    assert supervisor.end_forgotten() == (["gateway"] if lost == "one" else ["gateway", "issuer"])
    assert not psutil.pid_exists(forgotten.pid)
    assert psutil.pid_exists(known.pid) == (lost == "one")


def test_what_another_system_has_started_is_left_alone(supervisor, tmp_path):
    process = started(supervisor, "gateway")
    other = Supervisor(State(tmp_path / "other"))
    assert other.end_forgotten() == []
    assert process.is_running()


def test_what_a_known_process_has_started_is_left_alone(supervisor):
    family = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(flush=True); input()'], stdin=0)"
    supervisor.spawn("worker", (sys.executable, "-c", family), {})
    parent = supervisor._state.running("worker")
    assert supervisor.end_forgotten() == []
    assert parent.is_running()
    parent.send_signal(signal.SIGKILL)
