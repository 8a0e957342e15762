"""The group committer in a thread of its own: whatever fails when it connects, it goes on when that is over."""

from contextlib import closing, suppress
from threading import Event, Thread
from time import monotonic

import pytest

from eventstore.errors import StoreUnavailable
from eventstore.session import ConnectionLost, PostgresSession
from eventstore.threads import ThreadedCommitter
from tests.unit.eventstore.scripted import Server, command, fails


class Passwords:
    """What fetches one, and is away for as long as it is told."""

    def __init__(self):
        self.away, self.asked = Event(), Event()

    def conninfo(self):
        self.asked.set()
        if self.away.is_set():
            raise RuntimeError("the password can't be fetched")
        return "password=secret"


@pytest.fixture
def passwords():
    return Passwords()


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(PostgresSession, "connect", lambda _: server.connect())
    return server


@pytest.fixture
def committer(passwords, server):  # noqa: ARG001
    with closing(ThreadedCommitter(passwords.conninfo)) as committer:
        yield committer


def appended(committer, stream):
    """Its position, as soon as the store is there."""
    until = monotonic() + 10
    while monotonic() < until:
        with suppress(StoreUnavailable):
            return committer.append(command(stream)).position
    raise AssertionError("the store does not come back")


def test_a_store_whose_first_password_can_not_be_fetched_is_unavailable_and_comes_back(committer, passwords):
    passwords.away.set()
    with pytest.raises(StoreUnavailable, match="RuntimeError: the password can't be fetched"):
        committer.append(command("orders-1"))
    passwords.away.clear()
    assert appended(committer, "orders-1") == 1


def test_what_was_sent_when_no_password_can_be_fetched_gets_its_answer(committer, passwords, server):
    assert committer.append(command("orders-1")).position == 1
    passwords.away.set()
    passwords.asked.clear()
    server.script = [fails(ConnectionLost("gone"))]
    answers = []
    caller = Thread(target=lambda: answers.append(committer.append(command("orders-2"))), daemon=True)
    caller.start()
    assert passwords.asked.wait(10)
    passwords.away.clear()
    caller.join(10)
    assert [answer.position for answer in answers] == [2]
