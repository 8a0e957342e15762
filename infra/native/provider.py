"""Starts, stops and shows the system on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import psutil
import psycopg

from infra.errors import NotRunning, StartFailed
from infra.native import kafka, postgres, tools
from infra.native.processes import plain_environment, ready_reason, told
from infra.native.state import State
from infra.pki import Authority, write
from infra.plan import OPERATOR, Acl, Database, Job, Plan, Process, Topic, assemble
from infra.postgres import conninfo
from infra.settings import Settings
from infra.topics import Admin

FOLDER = ".headrace"
SERVERS = ("postgres", "kafka")
START_SECONDS = 60.0
STOP_SECONDS = 15.0
LOG_LINES = 12
LARGEST_LOG = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """One component: `state` is running, starting, crashed or stopped; `waits_for` is what it lacks to be ready."""

    name: str
    state: str
    pid: int | None
    port: int | None
    health_port: int | None
    waits_for: str | None
    log_tail: list[str]


def here(plan: Callable[[], Plan] = assemble) -> "Native":
    """The system of this folder: the nearest `.headrace` upwards, or a new one."""
    start = Path.cwd()
    folder = next((place for place in (start, *start.parents) if (place / FOLDER).is_dir()), start)
    return Native(folder / FOLDER, plan())


class Native:
    """The whole system in one folder."""

    def __init__(self, folder: Path, plan: Plan, cache: Path | None = None) -> None:
        self.folder, self.plan = folder.resolve(), plan
        self._cache = cache or self.folder / "cache"
        self._credentials = self.folder / "credentials"
        self.state = State(self.folder)
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def up(self, only: Collection[str] | None = None) -> None:
        """Starts what does not run, and waits until it is ready. Raises `MissingTool` or `StartFailed`."""
        wanted = set(self.components if only is None else only)
        with self.state.locked():
            self._issue(postgres.SUPERUSER, kafka.BROKER, kafka.ADMIN, *self.plan.principals)
            self.add_client(OPERATOR, self.settings(OPERATOR).password, self.plan.scopes)
            servers = [name for name in SERVERS if name in wanted]
            with ThreadPoolExecutor(len(SERVERS)) as pool:
                list(pool.map(self._start_server, servers))
            if servers == list(SERVERS):
                self._provision()
            for process in self.plan.processes:
                if process.name in wanted:
                    self._start_process(process)
            for process in self.plan.processes:
                if process.name in wanted:
                    self._wait_for(process.name, partial(self._unready, process))

    def down(self) -> None:
        """Ends what `up` started, front doors first, servers last."""
        with self.state.locked():
            started = self.state.known()
            self._stop([name for name in reversed(started) if name not in SERVERS])
            self._stop([name for name in started if name in SERVERS])

    def kill(self, name: str) -> None:
        """Ends one component at once, as a crash would (`kill -9`), children included."""
        process = self.state.running(name)
        if process is None:
            raise NotRunning(f"{name} does not run")
        end(process)

    @property
    def components(self) -> tuple[str, ...]:
        return (*SERVERS, *(process.name for process in self.plan.processes))

    def status(self) -> list[ComponentStatus]:
        return [self._status(name) for name in self.components]

    def status_json(self) -> dict[str, object]:
        """What `headrace status --json` shows."""
        gateway = f"https://127.0.0.1:{self.state.port('gateway.api')}"
        components = [asdict(status) for status in self.status()]
        return {"gateway_url": gateway, "ca_file": str(self.ca_file), "components": components}

    @property
    def ca_file(self) -> Path:
        return self._credentials / "authority" / "ca.pem"

    def settings(self, principal: str) -> Settings:
        """The settings with which this process acts as a principal."""
        self._issue(principal)
        values = told(self.state, self._credentials / principal, self.plan, principal)
        return Settings(**{name.removeprefix("HEADRACE_").lower(): value for name, value in values.items()})  # type: ignore[arg-type]

    def create_database(self, database: Database) -> None:
        """A database and its roles, also outside the plan."""
        roles = [self.settings(name) for name in {database.owner, *database.principals}]
        postgres.provision(self.settings(postgres.SUPERUSER), roles, [database])

    def create_topic(self, topic: Topic) -> None:
        self.admin().topics([topic])

    def allow(self, acl: Acl) -> None:
        """A right, and the user that has it, also outside the plan."""
        self.admin().users([self.settings(acl.principal)])
        self.admin().acls([acl])

    def add_client(self, id: str, secret: str, scopes: Collection[str]) -> None:
        """Makes a client known to the development issuer."""
        self._issue("issuer")
        file = self._credentials / "issuer" / "clients.json"
        known = json.loads(file.read_text()) if file.exists() else {}
        write(file, json.dumps({**known, id: {"secret": secret, "scopes": list(scopes)}}, indent=1).encode())

    def admin(self) -> Admin:
        return Admin(self.settings(kafka.ADMIN))

    def log_file(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def _issue(self, *names: str) -> None:
        authority = Authority(self._credentials / "authority")
        for name in names:
            authority.issue(self._credentials / name, name)

    def _environment(self, principal: str, process: Process | None = None) -> dict[str, str]:
        return plain_environment() | told(self.state, self._credentials / principal, self.plan, principal, process)

    def _start_server(self, name: str) -> None:
        if self.state.running(name):
            return
        servers = tools.fetch(self._cache)
        if name == "postgres":
            database = self._postgres(servers)
            database.prepare()
            self._spawn(name, database.command(), user=database.user())
            self._wait_for(name, self._postgres_reason)
        else:
            broker = self._kafka(servers)
            broker.prepare()
            self._spawn(name, broker.command())
            admin = self.admin()
            self._wait_for(name, lambda: None if admin.ready() else "it answers no request")

    def _postgres(self, servers: tools.Servers) -> postgres.PostgresServer:
        data = self.folder / "postgres" / "data"
        port = self.state.port("postgres.api")
        return postgres.PostgresServer(servers.postgres, data, self._credentials / postgres.SUPERUSER, port)

    def _kafka(self, servers: tools.Servers) -> kafka.KafkaServer:
        ports = (self.state.port("kafka.api"), self.state.port("kafka.controller"))
        return kafka.KafkaServer(tools.java(), servers.kafka, self.folder / "kafka", self._credentials, ports)

    def _postgres_reason(self) -> str | None:
        try:
            psycopg.connect(conninfo(self.settings(postgres.SUPERUSER), "postgres")).close()
        except psycopg.OperationalError as error:
            return str(error).strip()
        return None

    def _provision(self) -> None:
        """Users, rights, topics, databases and schemas. Kafka's part is skipped when the same plan stands there."""
        fingerprint = hashlib.sha256(repr(self.plan).encode()).hexdigest()
        everyone = [self.settings(name) for name in self.plan.principals]
        postgres.provision(self.settings(postgres.SUPERUSER), everyone, self.plan.databases)
        if self.state.provisioned != fingerprint:
            admin = self.admin()
            admin.users(everyone)
            admin.acls(self.plan.acls)
            admin.topics(self.plan.topics)
            self.state.provisioned = fingerprint
        for job in self.plan.jobs:
            self._run(job)

    def _run(self, job: Job) -> None:
        call = [sys.executable, "-m", job.module, *job.arguments]
        done = subprocess.run(  # noqa: S603
            call,
            env=self._environment(job.principal),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise StartFailed(f"{job.name} failed: {(done.stderr or done.stdout)[-2000:]}")

    def _start_process(self, process: Process) -> None:
        if self.state.running(process.name) is None:
            call = [sys.executable, "-m", process.module, *process.arguments]
            self._spawn(process.name, call, self._environment(process.principal, process))

    def _spawn(self, name: str, call: list[str], env: dict[str, str] | None = None, user: str | None = None) -> None:
        self._reap(name)
        log = self.log_file(name)
        log.parent.mkdir(exist_ok=True, mode=0o700)
        if log.exists() and log.stat().st_size > LARGEST_LOG:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as out:
            child = subprocess.Popen(  # noqa: S603
                call,
                env=env or plain_environment(),
                user=user,
                extra_groups=[] if user else None,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd=self.folder,
            )
        self._children[name] = child
        self.state.started(name, child.pid)

    def _wait_for(self, name: str, reason: Callable[[], str | None]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while (waits_for := reason()) is not None:
            if self.state.running(name) is None:
                raise StartFailed(f"{name} ended while it started:\n{self._tail_text(name)}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{name} is not ready: {waits_for}\n{self._tail_text(name)}")
            time.sleep(0.05)

    def _unready(self, process: Process) -> str | None:
        return ready_reason(self.ca_file, self.state.port(f"{process.name}.health"))

    def _stop(self, names: list[str]) -> None:
        """Politely first, within a bound; then by force."""
        running = {name: process for name in names if (process := self.state.running(name))}
        for name, process in running.items():
            # PostgreSQL waits for its clients on SIGTERM; SIGINT ends them and is as safe.
            process.send_signal(2 if name == "postgres" else 15)
        _, stubborn = psutil.wait_procs(list(running.values()), timeout=STOP_SECONDS)
        for process in stubborn:
            end(process)
        for name in names:
            self._reap(name)
            self.state.forget("processes", name)

    def _reap(self, name: str) -> None:
        """Takes leave of a child of ours that has ended."""
        if (child := self._children.pop(name, None)) is not None:
            child.wait(STOP_SECONDS)

    def _status(self, name: str) -> ComponentStatus:
        process = self.state.running(name)
        ports = self.state.read()["ports"]
        state, reason = "stopped", None
        if process is not None:
            reason = self._reason(name)
            state = "running" if reason is None else "starting"
        elif name in self.state.known():
            state = "crashed"
        tail = list(self._tail(name)) if state == "crashed" else []
        pid = process.pid if process else None
        return ComponentStatus(name, state, pid, ports.get(f"{name}.api"), ports.get(f"{name}.health"), reason, tail)

    def _reason(self, name: str) -> str | None:
        if name == "postgres":
            return self._postgres_reason()
        if name == "kafka":
            return None if self.admin().ready() else "it answers no request"
        return self._unready(next(process for process in self.plan.processes if process.name == name))

    def _tail(self, name: str) -> Iterator[str]:
        if self.log_file(name).exists():
            with self.log_file(name).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 8192))
                yield from log.read().decode(errors="replace").splitlines()[-LOG_LINES:]

    def _tail_text(self, name: str) -> str:
        return "\n".join(self._tail(name))


def end(process: psutil.Process) -> None:
    """Ends a process and its children by force; a child may already be gone with its parent."""
    family = [process, *process.children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=STOP_SECONDS)
