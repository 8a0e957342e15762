"""The real servers, once per run: PostgreSQL and Kafka with TLS, in a folder of their own."""

import os
import shutil
from pathlib import Path

import pytest

from infra.native import Native
from infra.plan import Plan

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def floor():
    """PostgreSQL and Kafka, empty; the fetched servers are shared with the project's own."""
    folder = PROJECT / ".headrace" / "tests" / str(os.getpid())
    native = Native(folder, Plan(), cache=PROJECT / ".headrace" / "cache")
    try:
        native.up(only={"postgres", "kafka"})
        yield native
    finally:
        native.down()
        for used in folder.parent.glob(f"{folder.name}*"):
            shutil.rmtree(used)
