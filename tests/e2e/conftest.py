"""The whole system as a person has it, all processes, once per run: two domains, and everything by `headrace`."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from time import monotonic
from uuid import uuid4

import aiohttp
import pytest
from confluent_kafka import Consumer, TopicPartition

from domains.orders import domain
from infra.issuer.people import FILE as PEOPLE
from infra.kafka import librdkafka
from infra.native import Native
from infra.native.provider import SERVERS
from infra.native.supervisor import Supervisor
from infra.pki import write
from infra.plan import KAFKA_UI, OPERATOR, assemble
from infra.web import tls
from tests.containers import ContainerSupervisor, engine_answers
from tests.integration.gateway.issuers import CUSTOMER, PASSWORD, person
from tests.keycloak import Keycloak

SUMMARY = pytest.StashKey[list[str]]()
BANK = Path(__file__).parents[1] / "samples" / "bank"
HEADRACE = Path(sys.executable).with_name("headrace")
PATIENCE = 300
TOKEN_SECONDS = 300
ANN_MAY = ("orders:read", "console:read")


class Installed(Native):
    """A system in which a package brings a second domain, which this process does not have.

    Its servers are in containers where a Docker engine answers.
    """

    def __init__(self, folder: Path, packages: Path, cache: Path):
        self._contained = engine_answers()
        super().__init__(folder, assemble(), cache, ContainerSupervisor if self._contained else Supervisor)
        self._environment_of_a_person = {**os.environ, "PYTHONPATH": str(packages)}

    @property
    def environment(self) -> dict[str, str]:
        return self._environment_of_a_person

    def headrace(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run([HEADRACE, *arguments])

    def run(self, call: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            call,
            cwd=self.folder.parent,
            env=self._environment_of_a_person,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    async def begun(self, *arguments: str, **given: int) -> asyncio.subprocess.Process:
        """A command that goes on by itself."""
        place = {"cwd": self.folder.parent, "env": self._environment_of_a_person, "stdin": subprocess.DEVNULL}
        return await asyncio.create_subprocess_exec(HEADRACE, *arguments, **place, **given)

    def up(self):
        if self._contained:
            super().up(only=SERVERS)
        done = self.headrace("up")
        assert done.returncode == 0, done.stderr

    def status_json(self):
        return json.loads(self.headrace("status", "--json").stdout)


class Client:
    """Reads each answer to its end."""

    def __init__(self, session: aiohttp.ClientSession):
        self._session = session

    async def get(self, path, **given):
        return await self._ask("GET", path, **given)

    async def post(self, path, **given):
        return await self._ask("POST", path, **given)

    async def _ask(self, method, path, **given):
        async with self._session.request(method, path, **given) as answer:
            await answer.read()
            return answer


@pytest.fixture(scope="session")
def packages(floor):
    """A folder in which the sample's package is installed, as pip does it."""
    place = floor.folder.with_name(f"{floor.folder.name}-packages")
    source = place / "source"
    shutil.copytree(BANK, source)
    call = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*call, "--target", place / "installed", source], check=True, timeout=PATIENCE)
    return place / "installed"


@pytest.fixture(scope="session")
def system(floor, packages, request):
    """What `headrace up` starts, in a folder of its own."""
    folder = floor.folder.with_name(f"{floor.folder.name}-e2e") / ".headrace"
    folder.mkdir(parents=True)
    (folder / "cache").symlink_to(floor.cache)
    system = Installed(folder, packages, floor.cache)
    with another_issuer(system) if request.config.getoption("issuer") == "keycloak" else nullcontext():
        try:
            system.up()
            yield system
        finally:
            system.down()


@contextmanager
def another_issuer(system):
    """Keycloak in place of the development issuer, with the realm that `headrace realm` prints, and Ann."""
    system.issue("keycloak")
    realm = json.loads(system.headrace("realm").stdout)
    (operator,) = [client for client in realm["clients"] if client["clientId"] == OPERATOR]
    operator["secret"] = system.settings(OPERATOR).password
    realm["users"].append(person("ann", str(uuid4()), *ANN_MAY))
    with Keycloak(system.cache, system.folder / "keycloak", system.credentials / "keycloak").running() as server:
        system.environment["HEADRACE_OIDC_ISSUER"] = server.add(realm)
        yield


@pytest.fixture
def ann(system, request):
    """A person who may read orders, as far as they are hers, and watch."""
    if request.config.getoption("issuer") == "development":
        told = {"password": PASSWORD, "scopes": ANN_MAY, "claims": {"customer": CUSTOMER}}
        write(system.credentials / "issuer" / PEOPLE, json.dumps({"ann": told}).encode())
    return "ann"


@pytest.fixture(scope="session")
def token(system):
    """Gives a token for the scopes given, or for all, that holds for some minutes."""
    made = {}

    def give(*scopes):
        if scopes not in made or monotonic() > made[scopes][1]:
            asked = ["--scope", " ".join(scopes)] if scopes else []
            made[scopes] = (system.headrace("token", *asked).stdout.strip(), monotonic() + TOKEN_SECONDS)
        return made[scopes][0]

    return give


@pytest.fixture(scope="session")
def address(system):
    """Where the gateway is, which stays when it is restarted."""
    return system.status_json()["gateway_url"]


@pytest.fixture
async def client(system, address, token):
    """Asks the gateway with a token for everything."""
    trust = tls.client(system.settings(OPERATOR), identified=False)
    bearer = {"authorization": f"Bearer {token()}", "content-type": "application/json"}
    connector = aiohttp.TCPConnector(ssl=trust)
    async with aiohttp.ClientSession(address, headers=bearer, connector=connector) as session:
        yield Client(session)


@pytest.fixture
def records_of(system):
    """Reads all records of a topic, as the read-only principal sees them, by partition and in order."""

    def read(topic, partitions=domain.partitions):
        consumer = Consumer(librdkafka(system.settings(KAFKA_UI), **{"group.id": "none", "enable.auto.commit": False}))
        try:
            ends = {}
            for number in range(partitions):
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
                if high > low:
                    ends[number] = high
            consumer.assign([TopicPartition(topic, number, 0) for number in ends])
            records = {number: [] for number in range(partitions)}
            while ends:
                message = consumer.poll(10)
                assert message is not None
                assert message.error() is None
                records[message.partition()].append(message)
                if message.offset() + 1 >= ends.get(message.partition(), 0):
                    ends.pop(message.partition(), None)
            return records
        finally:
            consumer.close()

    return read


@pytest.fixture
def number():
    return uuid4().hex[:12]


@pytest.fixture
def summary(request):
    """Lines for the end of the run."""
    return request.config.stash.setdefault(SUMMARY, [])


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(SUMMARY, []):
        terminalreporter.write_line(line)
