"""Real servers with real TLS, in this process."""

import socket

import pytest

from infra.pki import Authority
from infra.settings import Settings


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def settings_of(authority, tmp_path_factory):
    """The settings of a principal, with credentials of the common authority and free ports."""
    folder = tmp_path_factory.mktemp("credentials")

    def make(principal, **more):
        authority.issue(folder / principal, principal)
        ports = {"api_port": free_port(), "health_port": free_port()}
        given = {"environment": "development", "drain_seconds": 5.0, **ports, **more}
        return Settings(principal=principal, credentials=folder / principal, **given)

    return make


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
