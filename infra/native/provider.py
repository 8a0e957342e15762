"""Starts, stops and shows the system on this machine."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psycopg

from infra import databases, notes
from infra.errors import NotRunning, StartFailed
from infra.native import clients, kafka, postgres, tools
from infra.native.processes import CHOSEN, own, plain_environment, ready_reason, told
from infra.native.state import State
from infra.native.status import CRASHED, RUNNING, STOPPED, WAITING, ComponentStatus
from infra.native.supervisor import Supervisor
from infra.pki import Authority, write
from infra.plan import CONSOLE, OPERATOR, Acl, Database, Job, Plan, Process, Topic, assemble
from infra.postgres import conninfo
from infra.settings import Settings, made
from infra.topics import Admin

FOLDER = ".headrace"
PROJECT = "pyproject.toml"
SERVERS = ("postgres", "kafka")
GATEWAY = "gateway"
JOB_SECONDS = 120.0
Say = Callable[[str, str], None]


def here(plan: Callable[[], Plan] = assemble) -> "Native":
    """The system of this project: the nearest `.headrace` upwards, or a new one beside `pyproject.toml`."""
    start = Path.cwd()
    places = (start, *start.parents)
    marked = [place for mark in (FOLDER, PROJECT) for place in places if (place / mark).exists()]
    return Native((marked or [start])[0] / FOLDER, plan())


def silent(_component: str, _what: str) -> None:
    """For callers that wish to hear nothing."""


class Native:
    """The whole system in one folder."""

    def __init__(
        self, folder: Path, plan: Plan, cache: Path | None = None, supervisor: type[Supervisor] = Supervisor
    ) -> None:
        self.folder, self.plan = folder.resolve(), plan
        self.cache = cache or self.folder / "cache"
        self.credentials = self.folder / "credentials"
        self.state = State(self.folder)
        self._supervisor = supervisor(self.state)

    @property
    def components(self) -> tuple[str, ...]:
        return (*SERVERS, *(process.name for process in own(self.plan)))

    @property
    def ca_file(self) -> Path:
        return self.credentials / "authority" / "ca.pem"

    def up(self, only: Collection[str] | None = None, say: Say = silent) -> None:
        """Starts what does not run, and waits until it is ready. Raises `MissingTool` or `StartFailed`.

        `say` is told of each component's steps. What runs already is left as it is, also when code has changed.
        """
        wanted = set(self.components if only is None else only)
        with self.state.locked():
            for name in self._supervisor.end_forgotten(last=SERVERS):
                say(name, "ended one that an earlier `up` had started and not written down")
            for name in self.state.free_ports():
                say(name.partition(".")[0], f"port was taken by another program, is {self.state.port(name)} now")
            self.issue(postgres.SUPERUSER, kafka.BROKER, kafka.ADMIN, *self.plan.principals)
            self.add_client(OPERATOR, self.settings(OPERATOR).password, self.plan.scopes)
            clients.first_person(self.credentials / "issuer", OPERATOR, self.plan.scopes)
            lanes = {"postgres": self._bring_up_postgres, "kafka": self._bring_up_kafka}
            together([partial(lane, say) for name, lane in lanes.items() if name in wanted])
            processes = [process for process in own(self.plan) if process.name in wanted]
            for process in processes:
                self._start_process(process, say)
            together([partial(self._await_process, process, say) for process in processes])

    def down(self, say: Say = silent, only: Collection[str] | None = None) -> None:
        """Ends what `up` started, and nothing else: the front door first, the servers last. The data stays."""
        if not self.folder.exists():
            return
        with self.state.locked():
            if only is None:
                self._supervisor.end_forgotten(last=SERVERS)
            started = [name for name in self.state.known() if only is None or name in only]
            doors = [name for name in started if name == GATEWAY]
            servers = [name for name in started if name in SERVERS]
            rest = [name for name in started if name not in (*doors, *servers)]
            for names in (doors, rest, servers):
                self._supervisor.stop(names)
                for name in names:
                    say(name, STOPPED)
            if "kafka" in servers:
                self._kafka(tools.fetch(self.cache)).stopped()

    def kill(self, name: str) -> None:
        """Ends one component at once, as a crash would (`kill -9`), children included."""
        self._supervisor.kill(name)

    def status(self) -> list[ComponentStatus]:
        return [self._status(name) for name in self.components]

    def status_json(self) -> dict[str, object]:
        """What `headrace status --json` shows."""
        ports = {serves: self.state.ports.get(f"{GATEWAY}.{serves}") for serves in ("api", "admin")}
        urls = {serves: f"https://127.0.0.1:{port}" if port else None for serves, port in ports.items()}
        return {
            "gateway_url": urls["api"],
            "admin_url": urls["admin"],
            "ca_file": str(self.ca_file),
            "components": [part.told() for part in self.status()],
        }

    def settings(self, principal: str) -> Settings:
        """The settings with which this process acts as a principal. Raises `SettingsError`.

        Before the first `up` there are none (`NotRunning`): a command in a wrong folder must not begin a system there.
        """
        if not self.credentials.exists():
            raise NotRunning(f"there is no system in {self.folder.parent}", "headrace up")
        self.issue(principal)
        values = told(self.state, self.credentials / principal, self.plan, principal)
        # What stands in the environment is taken from there, and may be JSON.
        given = {name: value for name, value in values.items() if name not in CHOSEN or not os.environ.get(name)}
        return made(**{name.removeprefix("HEADRACE_").lower(): value for name, value in given.items()})

    def create_database(self, database: Database) -> None:
        """A database and its roles, also outside the plan."""
        roles = [self.settings(name) for name in {database.owner, *database.principals}]
        databases.provision(self.settings(postgres.SUPERUSER), roles, [database])

    def drop_database(self, database: Database) -> None:
        """Takes back what `create_database` made outside the plan, roles and credentials included."""
        names = {database.owner, *database.principals} - {*self.plan.principals}
        databases.drop(self.settings(postgres.SUPERUSER), names, database)
        for name in names:
            shutil.rmtree(self.credentials / name, ignore_errors=True)

    def create_topic(self, topic: Topic) -> None:
        self.admin().topics([topic])

    def allow(self, acl: Acl) -> None:
        """A right, and the user that has it, also outside the plan."""
        self.admin().users([self.settings(acl.principal)])
        self.admin().acls([acl])

    def add_client(self, id: str, secret: str, scopes: Collection[str]) -> None:
        """Makes a client known to the development issuer."""
        with self.state.locked("clients"):
            clients.add(self.credentials / "issuer", id, secret, scopes)

    def admin(self) -> Admin:
        return Admin(self.settings(kafka.ADMIN))

    def log_file(self, name: str) -> Path:
        return self._supervisor.log_file(name)

    def issue(self, *names: str) -> None:
        """Gives principals their credentials; those that are good stay."""
        with self.state.locked("credentials"):
            authority = Authority(self.credentials / "authority")
            for name in names:
                authority.issue(self.credentials / name, name)
                notes.issue(self.credentials / name, name)

    def _bring_up_postgres(self, say: Say) -> None:
        if not self.state.running("postgres"):
            say("postgres", "starting")
            database = self._postgres(tools.fetch(self.cache))
            if (pid := database.running_pid()) is not None:
                self.state.started("postgres", pid)
            else:
                database.prepare()
                self._supervisor.spawn("postgres", database.command(), plain_environment(), database.account)
        self._supervisor.wait_until_ready("postgres", self._postgres_reason)
        if self.plan.databases:
            say("postgres", "provisioning")
            self._provision_postgres()
        say("postgres", RUNNING)

    def _bring_up_kafka(self, say: Say) -> None:
        if not self.state.running("kafka"):
            say("kafka", "starting")
            broker = self._kafka(tools.fetch(self.cache))
            if (pid := broker.running_pid()) is not None:
                self.state.started("kafka", pid)
            else:
                broker.prepare()
                self._supervisor.spawn("kafka", broker.command(), plain_environment() | broker.environment())
        admin = self.admin()
        self._supervisor.wait_until_ready("kafka", partial(kafka_reason, admin))
        users = [self.settings(name) for name in self.plan.principals]
        mark = Mark(self.folder / "kafka" / "provisioned", users, self.plan.acls, self.plan.topics)
        if not mark.stands():
            say("kafka", "provisioning")
            admin.provision(users, self.plan.acls, self.plan.topics)
            mark.set()
        say("kafka", RUNNING)

    def _postgres(self, servers: tools.Servers) -> postgres.PostgresServer:
        own = self.credentials / postgres.SUPERUSER
        return postgres.PostgresServer(servers.postgres, self.folder / "postgres", own, self.state.port("postgres.api"))

    def _kafka(self, servers: tools.Servers) -> kafka.KafkaServer:
        ports = (self.state.port("kafka.api"), self.state.port("kafka.controller"))
        return kafka.KafkaServer(tools.java(), servers.kafka, self.folder / "kafka", self.credentials, ports)

    def _provision_postgres(self) -> None:
        """Roles and databases, then their schemas by the jobs; nothing when all that was done with the same inputs."""
        roles = [self.settings(name) for name in self.plan.principals]
        mark = Mark(self.folder / "postgres" / "provisioned", roles, self.plan.databases, self.plan.jobs)
        superuser = self.settings(postgres.SUPERUSER)
        if not mark.stands() or databases.missing(superuser, self.plan.databases):
            databases.provision(superuser, roles, self.plan.databases)
            together([partial(self._run, job) for job in self.plan.jobs])
            mark.set()

    def _run(self, job: Job) -> None:
        call = [sys.executable, "-m", job.module, *job.arguments]
        environment = self._environment(job.principal)
        try:
            done = subprocess.run(  # noqa: S603
                call, env=environment, capture_output=True, text=True, timeout=JOB_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise StartFailed(f"{job.name} did not end within {JOB_SECONDS:.0f} s") from None
        if done.returncode != 0:
            raise StartFailed(f"{job.name} failed: {(done.stderr or done.stdout)[-2000:]}")

    def _start_process(self, process: Process, say: Say) -> None:
        if self.state.running(process.name) is None:
            say(process.name, "starting")
            call = [sys.executable, "-m", process.module, *process.arguments]
            environment = self._environment(process.principal, process)
            if process.name == CONSOLE:
                environment["HEADRACE_ASSETS"] = str(tools.assets(self.cache))
            self._supervisor.spawn(process.name, call, environment)

    def _await_process(self, process: Process, say: Say) -> None:
        self._supervisor.wait_until_ready(process.name, partial(self._unready, process))
        say(process.name, RUNNING)

    def _environment(self, principal: str, process: Process | None = None) -> dict[str, str]:
        return plain_environment() | told(self.state, self.credentials / principal, self.plan, principal, process)

    def _status(self, name: str) -> ComponentStatus:
        process = self.state.running(name)
        reason = None if process is None else self._reason(name)
        state = STOPPED
        if process is not None:
            state = RUNNING if reason is None else WAITING
        elif name in self.state.known():
            state = CRASHED
        ports = self.state.ports
        return ComponentStatus(
            name=name,
            state=state,
            pid=process.pid if process else None,
            port=ports.get(f"{name}.api"),
            health_port=ports.get(f"{name}.health"),
            waits_for=reason,
            log_tail=self._supervisor.tail(name) if state in (CRASHED, WAITING) else [],
        )

    def _reason(self, name: str) -> str | None:
        if name == "postgres":
            return self._postgres_reason()
        if name == "kafka":
            return kafka_reason(self.admin())
        return self._unready(next(process for process in self.plan.processes if process.name == name))

    def _unready(self, process: Process) -> str | None:
        return ready_reason(self.ca_file, self.state.port(f"{process.name}.health"))

    def _postgres_reason(self) -> str | None:
        try:
            psycopg.connect(conninfo(self.settings(postgres.SUPERUSER), databases.MAINTENANCE[0])).close()
        except psycopg.OperationalError as error:
            return str(error).strip()
        return None


def kafka_reason(admin: Admin) -> str | None:
    return None if admin.ready() else "it answers no request"


def together(calls: Sequence[Callable[[], None]]) -> None:
    """Runs all of them at once; raises the first error when all are through."""
    with ThreadPoolExecutor(max(1, len(calls))) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()


class Mark:
    """Remembers, beside the data, that it was provisioned with certain things; other data has no such mark."""

    def __init__(self, file: Path, users: Sequence[Settings], *things: object) -> None:
        secrets = [(user.principal, user.password) for user in users]
        self._file, self._content = file, hashlib.sha256(repr((secrets, things)).encode()).hexdigest().encode()

    def stands(self) -> bool:
        return self._file.exists() and self._file.read_bytes() == self._content

    def set(self) -> None:
        write(self._file, self._content)
