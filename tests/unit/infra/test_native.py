"""What a person chooses in the environment reaches every process, or is refused by name; and where a system begins."""

import pytest

from infra.errors import NotRunning, SettingsError
from infra.native import Native
from infra.native.processes import CHOSEN, unheard
from infra.plan import own
from infra.settings import Settings


@pytest.fixture
def system(tmp_path):
    system = Native(tmp_path / ".headrace", own())
    system.issue("operator")
    return system


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADRACE_VERIFY_RATE", "often"),
        ("HEADRACE_OIDC_ISSUER", "http://127.0.0.1"),
        ("HEADRACE_PROJECTION_LANE", "fast"),
        ("HEADRACE_ADMIN_PORT", "https"),
        ("HEADRACE_QUOTAS", "{"),
    ],
)
def test_a_setting_that_means_nothing_is_refused_by_name(system, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        system.settings("operator")


def test_an_empty_setting_is_a_missing_one(system, monkeypatch):
    before = system.settings("operator")
    monkeypatch.setenv("HEADRACE_OIDC_ISSUER", "")
    assert system.settings("operator") == before
    assert "issuer" in system.components


def test_what_a_person_chooses_reaches_every_process_and_what_does_not_is_known(system, monkeypatch):
    monkeypatch.setenv("HEADRACE_QUOTAS", '{"read": "7/1"}')
    monkeypatch.setenv("HEADRACE_PROJECTON_LANE", "direct")
    assert system.settings("operator").quotas == {"read": (7, 1)}
    assert "HEADRACE_PROJECTON_LANE" in unheard()
    assert not set(unheard()) & set(CHOSEN)
    assert {name.removeprefix("HEADRACE_").lower() for name in CHOSEN} <= Settings.model_fields.keys()


def test_nothing_but_up_begins_a_system(tmp_path):
    system = Native(tmp_path / ".headrace", own())
    with pytest.raises(NotRunning, match=f"there is no system in {tmp_path}"):
        system.settings("operator")
    system.down()
    assert [part.state for part in system.status()] == ["stopped"] * len(system.components)
    assert not system.folder.exists()
