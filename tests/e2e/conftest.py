"""The whole system, all processes, once per run."""

import pytest

from infra import tokens
from infra.native import Native
from infra.plan import OPERATOR, assemble

SUMMARY = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def system(floor):
    """What `headrace up` starts, in a folder of its own."""
    native = Native(floor.folder.with_name(f"{floor.folder.name}-e2e") / ".headrace", assemble(), floor.cache)
    try:
        native.up()
        yield native
    finally:
        native.down()


@pytest.fixture(scope="session")
def token(system):
    """Makes a token for the scopes given, or for all."""
    return lambda *scopes: tokens.token(system.settings(OPERATOR), scopes or system.plan.scopes)


@pytest.fixture
def summary(request):
    """Lines for the end of the run."""
    return request.config.stash.setdefault(SUMMARY, [])


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(SUMMARY, []):
        terminalreporter.write_line(line)
