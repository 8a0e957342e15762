"""The doctor finds what it is for: a secret that others can read, a tool that is wanted, a state that is broken."""

import shutil

import pytest

from infra.errors import MissingTool
from infra.native import Native, tools
from infra.native.doctor import PUBLIC, examine, programs, secrets
from infra.pki import write
from infra.plan import own


@pytest.fixture
def system(tmp_path):
    system = Native(tmp_path / ".headrace", own())
    system.issue("issuer", "operator")
    return system


SECRETS = ("operator/key.pem", "operator/signing.key", "issuer/signing.pem", "issuer/people.json")


@pytest.mark.parametrize("name", [*(f"credentials/{name}" for name in SECRETS), "login.json", "keys/orders.json"])
def test_a_secret_that_others_can_read_is_named(system, name):
    assert [finding.well for finding in secrets(system)] == [True]
    file = system.folder / name
    file.parent.mkdir(exist_ok=True)
    write(file, b"secret")
    file.chmod(0o640)
    assert [(finding.well, finding.mend) for finding in secrets(system)] == [(False, f"chmod 600 {file}")]


def test_what_is_public_is_no_secret(system):
    assert {file.name for file in system.credentials.glob("*/*") if file.stat().st_mode & 0o077} <= PUBLIC


@pytest.mark.parametrize("lacks", ["servers", "pages"])
def test_maven_is_wanted_while_anything_of_today_is_not_fetched(system, monkeypatch, lacks):
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "mvn" else f"/usr/bin/{program}")
    with pytest.raises(MissingTool):
        tools.maven()
    for place in (tools.servers_in(system.cache), tools.pages_in(system.cache)):
        place.mkdir(parents=True)
        (place / "complete").touch()
    assert "mvn" not in {finding.name for finding in programs(system)}
    wanted = tools.servers_in(system.cache) if lacks == "servers" else tools.pages_in(system.cache)
    wanted.rename(wanted.with_name(f"{lacks}-of-before"))
    assert [finding.well for finding in programs(system) if finding.name == "mvn"] == [False]


NOT_JSON, NO_OBJECT = ("{", "\x00"), ("[]", "42")
NO_PORTS, NO_PROCESSES = ("null", '{"gateway.api": "x"}'), ("[]", '{"kafka": 1}', '{"kafka": ["x", 1]}')
WRONG = (*(f'{{"ports": {one}}}' for one in NO_PORTS), *(f'{{"processes": {one}}}' for one in NO_PROCESSES))


@pytest.mark.parametrize("content", [*NOT_JSON, *NO_OBJECT, *WRONG])
def test_a_state_that_nothing_can_be_made_of_is_named_and_counts_as_none(system, content):
    write(system.state.file, content.encode())
    assert [finding.well for finding in examine(system) if finding.name == "state"] == [False]
    assert (system.state.ports, system.state.known()) == ({}, [])
    system.down()
    assert system.status_json()["gateway_url"] is None
