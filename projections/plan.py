"""What the read sides of all domains need, derived from their declarations."""

from collections.abc import Mapping

from domains.admin import REBUILD
from domains.discovery import discover
from domains.kernel import Domain
from domains.plan import ANY_TIME, FOREVER, LARGEST_RECORD, ROOM_FOR_ORIGIN
from infra.plan import CONSOLE, OPERATOR, Acl, Database, Job, Plan, Process, Topic
from projections.migrate import inputs

RESUMABLE_SECONDS = 24 * 3600
COMPACTED = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.1",
    "segment.ms": "60000",
    "max.compaction.lag.ms": "60000",
    # A stream of changes resumes for so long: after that a removed row may no longer be told.
    "delete.retention.ms": str(RESUMABLE_SECONDS * 1000),
}

CONSOLE_READ, CONSOLE_WRITE = "console:read", "console:write"


def plan() -> Plan:
    return sum((read_side(domain) for domain in discover().values()), console())


def console() -> Plan:
    """Where people watch. It reads, and asks others to act in a person's name."""
    return Plan(
        acls=(
            *(Acl(CONSOLE, "topic", f"{name}.views.*", ("READ", "DESCRIBE")) for name in discover()),
            # It joins no group, but its client looks for the one that it could have.
            *(Acl(CONSOLE, "group", f"{name}.views.*", ("DESCRIBE",)) for name in discover()),
        ),
        processes=(
            Process(
                CONSOLE, "projections.console", (), CONSOLE, ("kafka", "postgres", "issuer"), asks=("read", REBUILD)
            ),
        ),
        scopes=(CONSOLE_READ, CONSOLE_WRITE),
    )


def read_database(domain: Domain) -> str:
    return f"{domain.name.replace('-', '_')}_read"


def read_side(domain: Domain) -> Plan:
    reader, migrator, database = f"{domain.name}-read", f"{domain.name}-migrate", read_database(domain)
    rows = sized(COMPACTED, LARGEST_RECORD)
    views = tuple(Topic(domain.view_topic(view), domain.partitions, rows) for view in domain.views)
    dead = Topic(domain.dead_letter_topic, 1, sized(FOREVER, LARGEST_RECORD + ROOM_FOR_ORIGIN))
    skips = Topic(domain.skips_topic, 1, sized(FOREVER, LARGEST_RECORD))
    return Plan(
        topics=(dead, skips, *views),
        acls=(
            Acl(reader, "topic", domain.events_topic, ("READ", "DESCRIBE")),
            Acl(reader, "group", f"{domain.name}.*", ("READ",)),
            *(Acl(reader, "topic", topic.name, ("WRITE", "DESCRIBE")) for topic in (dead, skips)),
            *(Acl(reader, "topic", topic.name, ("READ", "WRITE", "DESCRIBE")) for topic in views),
        ),
        databases=(Database(database, migrator, (reader, OPERATOR, CONSOLE)),),
        jobs=(Job(f"{domain.name}-read-migrate", "projections", ("migrate", domain.name), migrator, inputs(domain)),),
        processes=(
            Process(
                reader,
                "projections",
                (domain.name,),
                reader,
                ("kafka", "postgres", "issuer"),
                (domain.name, "read"),
            ),
            # The right to make tables is its own: whoever answers questions must not have it.
            Process(
                f"{domain.name}-{REBUILD}",
                "projections.refolding",
                (domain.name,),
                migrator,
                ("postgres", "issuer"),
                (domain.name, REBUILD),
            ),
        ),
    )


def sized(settings: Mapping[str, str], largest: int) -> dict[str, str]:
    return {**settings, **ANY_TIME, "max.message.bytes": str(largest)}
