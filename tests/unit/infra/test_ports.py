"""A port is given once."""

import random
import socket
from itertools import islice

import pytest

from infra.errors import StartFailed
from infra.native import ports


def idle(port):
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return ports.free(port)


@pytest.fixture
def few(monkeypatch):
    """Ten ports to choose from, all of them free."""
    chosen = list(islice(filter(idle, random.sample(ports.PORTS, 1000)), 10))
    monkeypatch.setattr(ports, "PORTS", chosen)
    return set(chosen)


def test_nobody_is_given_the_port_of_another(few):
    assert {ports.free_port() for _ in range(10)} == few
    with pytest.raises(StartFailed, match="is free"):
        ports.free_port()


def test_a_port_that_another_process_was_given_or_listens_on_is_left_alone(few):
    given, listened, own, *_ = few
    with socket.socket(type=socket.SOCK_DGRAM) as theirs, socket.create_server(("127.0.0.1", listened)):
        theirs.bind(("127.0.0.1", given))
        assert {ports.free_port([own]) for _ in range(7)} == few - {given, listened, own}
