"""What a system is made of: topics, rights, databases, jobs and processes.

Each package announces its part under the entry point `headrace.plan`; a provider (native, compose) makes it real.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from importlib.metadata import entry_points
from typing import Literal


@dataclass(frozen=True, slots=True)
class Topic:
    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


Operation = Literal["READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS", "CREATE", "ALTER"]


@dataclass(frozen=True, slots=True)
class Acl:
    """What one principal may do; `name` is a literal name, or a prefix that ends in `*` (`*` alone: all)."""

    principal: str
    resource: Literal["topic", "group", "cluster"]
    name: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Database:
    """A database, the principal that owns its schema, and the principals that may connect.

    What each may do inside is granted by the owner's migrations.
    """

    name: str
    owner: str
    principals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """A command that runs to its end before the processes start; running it again is harmless.

    `inputs` stands for what its outcome depends on besides its arguments: while that stays, it need not run again.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    principal: str
    inputs: str


@dataclass(frozen=True, slots=True)
class Process:
    """A long-running process. It serves its API with TLS on one port and its health on another.

    `serves` is the domain and side it serves ("orders", "write"); `asks` are the sides whose addresses it is told.
    What is `admin` has one more port, for operators.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    principal: str
    needs: tuple[Literal["kafka", "postgres", "issuer"], ...]
    serves: tuple[str, str] | None = None
    asks: tuple[str, ...] = ()
    admin: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`scopes` is every scope that a token can have, `claims` what it can say of a person besides."""

    topics: tuple[Topic, ...] = ()
    acls: tuple[Acl, ...] = ()
    databases: tuple[Database, ...] = ()
    jobs: tuple[Job, ...] = ()
    processes: tuple[Process, ...] = ()
    scopes: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()

    def __add__(self, other: "Plan") -> "Plan":
        return Plan(
            self.topics + other.topics,
            self.acls + other.acls,
            self.databases + other.databases,
            self.jobs + other.jobs,
            self.processes + other.processes,
            self.scopes + other.scopes,
            self.claims + other.claims,
        )

    @property
    def principals(self) -> tuple[str, ...]:
        """Every name that needs a certificate and a password, sorted."""
        names = {acl.principal for acl in self.acls} | {part.principal for part in self.jobs + self.processes}
        for database in self.databases:
            names |= {database.owner, *database.principals}
        return tuple(sorted(names))


KAFKA_UI = "kafka-ui"
OPERATOR = "operator"
CONSOLE = "console"


def own() -> Plan:
    """What infrastructure itself brings: the read-only view for people, and the development issuer."""
    return Plan(
        acls=(
            Acl(KAFKA_UI, "topic", "*", ("READ", "DESCRIBE", "DESCRIBE_CONFIGS")),
            Acl(KAFKA_UI, "group", "*", ("DESCRIBE",)),
            Acl(KAFKA_UI, "cluster", "kafka-cluster", ("DESCRIBE", "DESCRIBE_CONFIGS")),
        ),
        processes=(Process("issuer", "infra.issuer", (), "issuer", ()),),
    )


def assemble() -> Plan:
    """The whole plan: the sum of what the installed packages announce, in name order."""
    parts = sorted(entry_points(group="headrace.plan"), key=lambda part: part.name)
    return reduce(Plan.__add__, (part.load()() for part in parts), Plan())
