"""The processes that are measured: our gateway, other proxies, and the service that all of them ask."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel

from domains.discovery import discover
from domains.kernel import Domain
from gateway.bench.load import NUMBER, Load
from infra.errors import MissingTool, StartFailed
from infra.native import Native
from infra.native.ports import free_port
from infra.native.processes import plain_environment, ready_reason, told
from infra.plan import OPERATOR
from infra.tokens import token

GATEWAY, ISSUER = "gateway", "issuer"
UNLIMITED = "1000000000/60"
START_SECONDS = 30.0
STOP_SECONDS = 10.0
LOOK_SECONDS = 0.02
LOG_BYTES = 2000
SBIN = "/usr/sbin"  # where Debian keeps nginx, and where only root looks
TEMPLATES = Environment(loader=PackageLoader("gateway.bench"), undefined=StrictUndefined, autoescape=False)  # noqa: S701  # no pages


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class Place:
    """Who asks, with what, and where the processes keep their files."""

    system: Native
    folder: Path
    domain: Domain
    token: str

    @property
    def own(self) -> Path:
        """The gateway's credentials, with which each proxy speaks."""
        return self.system.credentials / GATEWAY

    @property
    def service(self) -> str:
        """The name in the certificate of the service behind."""
        return f"{self.domain.name}-write"

    def request(self, *, identified: bool = False) -> bytes:
        """A command with its own example, each with an id and a key of its own; `identified`: in the body too."""
        domain, version, command, model = asked_of({self.domain.name: self.domain})
        fields = {domain.identity: NUMBER.decode()} if identified else {}
        body = orjson.dumps(fields | example(model))
        lines = (
            f"POST /v{version}/{domain.name}/bench-{NUMBER.decode()}/{command} HTTP/1.1",
            f"host: localhost\r\nauthorization: Bearer {self.token}",
            f'content-type: application/json\r\nidempotency-key: "bench-{NUMBER.decode()}"',
            f"content-length: {len(body)}\r\n\r\n",
        )
        return "\r\n".join(lines).encode() + body

    def load(self, server: Server, connections: int, seconds: float, **more: object) -> Load:
        ca = self.own / "ca.pem"
        return Load(server.port, self.request(), ca, connections, seconds, processes=(server.pid,), **more)  # type: ignore[arg-type]

    def direct(self, server: Server, connections: int, seconds: float) -> Load:
        """The same, by the client itself and without any proxy."""
        certificate = (self.own / "cert.pem", self.own / "key.pem")
        return self.load(server, connections, seconds, certificate=certificate)

    def environment(self, principal: str, **settings: object) -> dict[str, str]:
        """What a process of ours is told: what it would be in this system, and these settings."""
        process = next((one for one in self.system.plan.processes if one.name == principal), None)
        known = told(self.system.state, self.system.credentials / principal, self.system.plan, principal, process)
        given = {f"HEADRACE_{name.upper()}": str(value) for name, value in settings.items()}
        return plain_environment() | known | given

    @contextmanager
    def upstream(self, rate: float | None = None) -> Iterator[Server]:
        call = [sys.executable, "-m", "gateway.bench.upstream", *([f"--rate={rate}"] if rate else [])]
        port = free_port()
        environment = self.environment(self.service, api_port=port, health_port=free_port())
        with self._process("upstream", call, port, environment) as server:
            yield server

    @contextmanager
    def gateway(self, behind: Server) -> Iterator[Server]:
        """Our gateway, as it serves; its quotas are not reached."""
        address = f"https://127.0.0.1:{behind.port}"
        with self.gateway_of({self.domain.name: {"write": address, "read": address}}) as server:
            yield server

    @contextmanager
    def gateway_of(self, services: Mapping[str, Mapping[str, str]]) -> Iterator[Server]:
        port, health = free_port(), free_port()
        quotas = orjson.dumps(dict.fromkeys(("command", "read", "admin", "stranger"), UNLIMITED)).decode()
        environment = self.environment(
            GATEWAY, api_port=port, health_port=health, services=orjson.dumps(services).decode(), quotas=quotas
        )
        ready = partial(ready_reason, self.own / "ca.pem", health)
        with self._process(GATEWAY, [sys.executable, "-m", GATEWAY], port, environment, ready) as server:
            yield server

    @contextmanager
    def hello(self) -> Iterator[Server]:
        """FastAPI, and nothing of ours but the body's model."""
        port = free_port()
        environment = self.environment(GATEWAY, api_port=port, health_port=free_port())
        with self._process("hello", [sys.executable, "-m", "gateway.bench.hello"], port, environment) as server:
            yield server

    def sides(self, *sides: str) -> dict[str, str]:
        """Where these sides of the domain answer."""
        return {side: f"https://127.0.0.1:{self.running(f'{self.domain.name}-{side}').port}" for side in sides}

    def running(self, name: str) -> Server:
        """A component of the system."""
        process = self.system.state.running(name)
        assert process is not None  # noqa: S101  # it was started
        return Server(self.system.state.port(f"{name}.api"), process.pid)

    @contextmanager
    def nginx(self, behind: Server) -> Iterator[Server]:
        """Raises `MissingTool`."""
        with self._proxy("nginx.conf", behind, [program("nginx"), "-p", str(self.folder), "-c"]) as server:
            yield server

    @contextmanager
    def caddy(self, behind: Server) -> Iterator[Server]:
        """Raises `MissingTool`."""
        call = [program("caddy"), "run", "--adapter", "caddyfile", "--config"]
        with self._proxy("Caddyfile", behind, call) as server:
            yield server

    @contextmanager
    def _proxy(self, template: str, behind: Server, call: Sequence[str]) -> Iterator[Server]:
        port, file = free_port(), self.folder / template
        where = {"port": port, "upstream": behind.port, "folder": self.folder, "own": self.own, "name": self.service}
        file.write_text(TEMPLATES.get_template(template).render(where))
        environment = plain_environment() | dict.fromkeys(("HOME", "XDG_DATA_HOME"), str(self.folder))
        with self._process(template, [*call, str(file)], port, environment) as server:
            yield server

    @contextmanager
    def _process(
        self,
        name: str,
        call: Sequence[str],
        port: int,
        environment: Mapping[str, str],
        unready: Callable[[], str | None] = lambda: None,
    ) -> Iterator[Server]:
        """A process that listens and is ready; ended after the block. Raises `StartFailed`."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            child = subprocess.Popen(call, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)  # noqa: S603
        try:
            deadline = time.monotonic() + START_SECONDS
            while not listens(port) or unready() is not None:
                if child.poll() is not None or time.monotonic() > deadline:
                    raise StartFailed(f"{name} did not start:\n{log.read_text(errors='replace')[-LOG_BYTES:]}")
                time.sleep(LOOK_SECONDS)
            yield Server(port, child.pid)
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextmanager
def opened(system: Native, servers: Collection[str] = (), sides: Collection[str] = ()) -> Iterator[Place]:
    """A system of its own in a folder that goes afterwards: an issuer, these servers, these sides of a domain."""
    domain, *_ = asked_of(discover())
    system.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="bench-", dir=system.folder) as folder:
        # PostgreSQL is another user than root.
        Path(folder).chmod(0o755)
        own = Native(Path(folder), system.plan, system.cache)
        try:
            own.up(only={ISSUER, *servers, *(f"{domain.name}-{side}" for side in sides)})
            scopes = [scope for scope in own.plan.scopes if scope.startswith(f"{domain.name}:")]
            yield Place(own, Path(folder), domain, token(own.settings(OPERATOR), scopes))
        finally:
            # Its data goes anyway, so nothing is lost with an orderly end.
            for name in filter(own.state.running, own.state.known()):
                own.kill(name)
            own.down()


def asked_of(domains: Mapping[str, Domain]) -> tuple[Domain, int, str, type[BaseModel]]:
    """The first command that has an example, in the newest version: domain, version, name, and its body's model."""
    for domain in domains.values():
        version = domain.versions[-1]
        for name, plain in domain.commands.items():
            model = version.commands[name].model if name in version.commands else plain
            if example(model):
                return domain, version.number, name, model
    raise StartFailed("no domain has a command with an example")


def example(model: type[BaseModel]) -> dict[str, object]:
    found: dict[str, object] = next(iter(model.model_json_schema().get("examples", ())), {})
    return found


def program(name: str) -> str:
    """Where it lies. Raises `MissingTool`."""
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), SBIN)))
    if found is None:
        package = {"nginx": "nginx-light"}.get(name, name)
        raise MissingTool(f"{name} is not here", f"apt-get install {package}, or brew install {name}")
    return found


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
