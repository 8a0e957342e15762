"""Keycloak, for the tests that ask for it: its Maven artifact, fetched and built once, with a certificate of ours."""

import hashlib
import json
import shutil
import ssl
import subprocess
import zipfile
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from secrets import token_urlsafe
from urllib.parse import urlencode

from infra.native import tools
from infra.native.ports import free_port
from infra.native.processes import plain_environment
from infra.native.state import State
from infra.native.supervisor import Supervisor

VERSION = "26.7.3"
SHA256 = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"
BUILD_SECONDS = START_SECONDS = 300
PATIENCE_SECONDS = 120
FORM = {"content-type": "application/x-www-form-urlencoded"}


def program(cache: Path) -> Path:
    """`kc.sh`, ready to start; fetched and built where it is not there yet."""
    place = cache / f"keycloak-{VERSION}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not place.exists():
            draft = cache / "keycloak.draft"
            shutil.rmtree(draft, ignore_errors=True)
            fetch(draft)
            (draft / place.name).rename(place)
            shutil.rmtree(draft)
    return place / "bin" / "kc.sh"


def fetch(folder: Path) -> None:
    artifact = f"-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
    run([tools.maven(), "-q", "-B", "dependency:copy", artifact, f"-DoutputDirectory={folder}"])
    (archive,) = folder.glob("*.zip")
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256
    with zipfile.ZipFile(archive) as files:
        files.extractall(folder)
    # What it keeps, it keeps in memory: each start is a first one.
    run(["sh", folder / f"keycloak-{VERSION}" / "bin" / "kc.sh", "build", "--db=dev-mem"])


def run(call):
    done = subprocess.run(
        call, env=environment(), capture_output=True, text=True, timeout=BUILD_SECONDS, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def environment():
    """Only the first compiler: a run is too short for what the second one saves."""
    java = str(tools.java().resolve().parents[1])
    return {**plain_environment(), "JAVA_HOME": java, "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1"}


class Keycloak:
    """A server in a folder of its own, with the certificate of the principal whose credentials are given."""

    def __init__(self, cache: Path, folder: Path, credentials: Path):
        self._program, self._credentials = program(cache), credentials
        folder.mkdir(parents=True, exist_ok=True)
        self._state = State(folder)
        self._supervisor = Supervisor(self._state)
        self._port, self._password = free_port(), token_urlsafe()
        self._tls = ssl.create_default_context(cafile=str(credentials / "ca.pem"))

    @property
    def address(self):
        return f"https://127.0.0.1:{self._port}"

    @contextmanager
    def running(self):
        told = {
            "http-host": "127.0.0.1",
            "https-port": self._port,
            "http-enabled": "false",
            "hostname": self.address,
            "https-certificate-file": self._credentials / "cert.pem",
            "https-certificate-key-file": self._credentials / "key.pem",
            "cache": "local",
            "log-level": "warn",
        }
        admin = {"KC_BOOTSTRAP_ADMIN_USERNAME": "admin", "KC_BOOTSTRAP_ADMIN_PASSWORD": self._password}
        call = ["sh", str(self._program), "start", "--optimized", *(f"--{name}={told[name]}" for name in told)]
        self._supervisor.spawn("keycloak", call, environment() | admin)
        try:
            self._supervisor.wait_until_ready("keycloak", self._reason, START_SECONDS)
            yield self
        finally:
            self._supervisor.stop(["keycloak"])

    def add(self, realm) -> str:
        """Imports a realm; its address as an issuer."""
        self.admin("POST", "/admin/realms", realm)
        return f"{self.address}/realms/{realm['realm']}"

    def admin(self, method, path, content=None):
        """What the administrator's API answers."""
        form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": self._password}
        found = self._exchange("POST", "/realms/master/protocol/openid-connect/token", urlencode(form), FORM)
        bearer = {"authorization": f"Bearer {found['access_token']}", "content-type": "application/json"}
        return self._exchange(method, path, None if content is None else json.dumps(content), bearer)

    def read(self, path):
        return self._exchange("GET", path)

    def _exchange(self, method, path, body=None, headers=None):
        connection = HTTPSConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS, context=self._tls)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        assert answer.status < 300, (answer.status, content)
        return json.loads(content) if content else None

    def _reason(self):
        try:
            self.read("/realms/master/.well-known/openid-configuration")
        except (OSError, HTTPException, AssertionError) as error:
            return str(error)
        return None
