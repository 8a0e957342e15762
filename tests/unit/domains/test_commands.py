"""What a command of `headrace` ends with when the store refuses what was asked, and when it is not there."""

from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner

from domains import commands, history_commands
from eventstore.errors import EventsDetached, StoreBusy, StoreUnavailable
from eventstore.memory import MemoryStore
from infra.console import Exit


class System:
    """Somebody's system, of which nothing is asked."""

    def settings(self, principal):
        return principal


@pytest.fixture
def store(monkeypatch):
    """What both commands read from."""
    store = MemoryStore()

    @asynccontextmanager
    async def opened(*_):
        yield store

    for module in (commands, history_commands):
        monkeypatch.setattr(module, "here", System)
        monkeypatch.setattr(module, "conninfo", lambda *_: "")
        monkeypatch.setattr(module.PostgresStore, "open", opened)
    monkeypatch.setattr(commands, "keys_of", opened)
    return store


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EventsDetached("the events up to position 7 are detached"), Exit.FAILURE),
        (StoreUnavailable("the database can't be reached"), Exit.DEPENDENCY_DOWN),
        (StoreBusy(1.0), Exit.TRY_AGAIN),
    ],
)
@pytest.mark.parametrize(
    "command", [(commands.app, ["orders-1"]), (history_commands.app, ["history", "record", "orders"])]
)
def test_only_a_store_that_is_not_there_is_one_that_is_down(store, monkeypatch, command, error, code):
    async def refusing(*_, **__):
        raise error

    for name in ("read_stream", "read_log"):
        monkeypatch.setattr(store, name, refusing)
    app, arguments = command
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code
    assert str(error) in done.stderr
    assert ("headrace up" in done.stderr) is (code == Exit.DEPENDENCY_DOWN)


def test_what_is_no_stream_is_told_so(store):  # noqa: ARG001
    done = CliRunner().invoke(commands.app, ["orders-"])
    assert done.exit_code == Exit.FAILURE
    assert "is no stream name" in done.stderr
