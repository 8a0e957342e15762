"""A process refuses settings that are unknown, missing or unsafe, and says which."""

import os

import pytest

from infra.errors import SettingsError
from infra.settings import Settings, load


@pytest.fixture
def credentials(tmp_path):
    for name in ("ca.pem", "cert.pem", "key.pem", "password"):
        file = tmp_path / name
        file.write_text("secret\n")
        file.chmod(0o600)
    return tmp_path


@pytest.fixture
def environment(monkeypatch, credentials):
    for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HEADRACE_PRINCIPAL", "orders-write")
    monkeypatch.setenv("HEADRACE_CREDENTIALS", str(credentials))
    return monkeypatch


@pytest.mark.usefixtures("environment")
def test_what_is_needed_is_enough():
    settings = load()
    assert (settings.principal, settings.environment, settings.password) == ("orders-write", "production", "secret")


@pytest.mark.parametrize("name", ["HEADRACE_KAFKA_BOOTSTRP", "HEADRACE_", "headrace_debug"])
def test_an_unknown_setting_is_refused_by_name(environment, name):
    environment.setenv(name, "x")
    with pytest.raises(SettingsError, match=f"unknown setting: {name}"):
        load()


def test_a_missing_setting_is_named(environment):
    environment.delenv("HEADRACE_PRINCIPAL")
    with pytest.raises(SettingsError, match="HEADRACE_PRINCIPAL"):
        load()


def test_an_empty_setting_is_a_missing_one(environment):
    environment.setenv("HEADRACE_PRINCIPAL", "")
    with pytest.raises(SettingsError, match="HEADRACE_PRINCIPAL"):
        load()


@pytest.mark.usefixtures("environment")
def test_what_a_part_needs_is_named_when_it_is_missing():
    with pytest.raises(SettingsError, match="not set: HEADRACE_KAFKA_BOOTSTRAP, HEADRACE_OIDC_ISSUER"):
        load().need("kafka_bootstrap", "oidc_issuer")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADRACE_ENVIRONMENT", "staging"),
        ("HEADRACE_PRINCIPAL", "Orders Write"),
        ("HEADRACE_PRINCIPAL", "orders;--"),
        ("HEADRACE_CREDENTIALS", "/does/not/exist"),
        ("HEADRACE_LOG_LEVEL", "loud"),
        ("HEADRACE_API_PORT", "0"),
        ("HEADRACE_API_PORT", "65536"),
        ("HEADRACE_API_PORT", "https"),
        ("HEADRACE_DRAIN_SECONDS", "-1"),
        ("HEADRACE_DRAIN_SECONDS", "nan"),
        ("HEADRACE_OIDC_ISSUER", "http://issuer.example"),
        ("HEADRACE_OIDC_ISSUER", "https://"),
        ("HEADRACE_OIDC_ISSUER", "https://user:secret@issuer.example"),
        ("HEADRACE_OIDC_ISSUER", "https://issuer.example/?tenant=1"),
        ("HEADRACE_SERVICES", "orders=https://orders"),
        ("HEADRACE_SERVICES", '{"orders": "https://orders"}'),
        ("HEADRACE_SERVICES", '{"orders": {"write": "http://orders"}}'),
    ],
)
def test_an_unsafe_or_malformed_value_is_refused_by_name(environment, name, value):
    environment.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load()


@pytest.mark.parametrize(("one", "other"), [("API", "HEALTH"), ("API", "ADMIN"), ("HEALTH", "ADMIN")])
def test_one_port_cannot_serve_both(environment, one, other):
    for name in (one, other):
        environment.setenv(f"HEADRACE_{name}_PORT", "9000")
    with pytest.raises(SettingsError, match=f"HEADRACE_{one}_PORT and HEADRACE_{other}_PORT"):
        load()


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("secret", ["key.pem", "password"])
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_secret_that_others_can_read_is_refused(credentials, secret, mode):
    (credentials / secret).chmod(mode)
    with pytest.raises(SettingsError, match=f"{secret} can be read by others") as refused:
        load()
    assert refused.value.hint == f"chmod 600 {credentials / secret}"


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("file", ["ca.pem", "cert.pem", "key.pem"])
def test_a_missing_credential_is_named(credentials, file):
    (credentials / file).unlink()
    with pytest.raises(SettingsError, match=f"{file} is missing"):
        load()


@pytest.mark.usefixtures("environment")
def test_a_missing_password_is_named_when_it_is_used(credentials):
    (credentials / "password").unlink()
    settings = load()
    with pytest.raises(SettingsError, match="password is missing"):
        _ = settings.password


def test_settings_cannot_change(credentials):
    settings = Settings(principal="gateway", credentials=credentials)
    with pytest.raises(ValueError, match="frozen"):
        settings.environment = "development"
