"""What the write sides of all domains need, derived from their declarations."""

from domains.discovery import discover
from domains.kernel import Domain
from eventstore import migrate
from eventstore.evidence import place as evidence
from eventstore.personal import migrate as keys_migrate
from infra.plan import CONSOLE, OPERATOR, Acl, Database, Job, Plan, Process, Topic

STREAMS_READ = "streams:read"
FOREVER = {"retention.ms": "-1", "retention.bytes": "-1"}
LARGEST_RECORD = 2 * 1024 * 1024
# What is set aside has more headers than it came with.
ROOM_FOR_ORIGIN = 64 * 1024
ONE_RECORD = {"max.message.bytes": str(LARGEST_RECORD)}
ONE_LETTER = {"max.message.bytes": str(LARGEST_RECORD + ROOM_FOR_ORIGIN)}
# A command is on its way for seconds; what it did stands in the log.
SOON_GONE = {"retention.ms": str(24 * 3600 * 1000)}
# The broker unpacks whatever is sent: the worker reads compressed records only with further libraries, if at all.
UNPACKED = {"compression.type": "uncompressed"}
ANY_TIME = {"message.timestamp.after.max.ms": "9223372036854775807"}
# A broker that was killed forgets producers by the time of their records, also one whose event of last year came just
# now, and then takes a page twice. An event's own time stands in the event.
TIME_OF_ARRIVAL = {"message.timestamp.type": "LogAppendTime"}


def plan() -> Plan:
    known = discover().values()
    parts = (write_side(domain) + (keys(domain) if domain.is_personal else Plan()) for domain in known)
    return sum(parts, Plan(scopes=(STREAMS_READ,)))


def events_database(domain: Domain) -> str:
    return f"{domain.name.replace('-', '_')}_events"


def keys_database(domain: Domain) -> str:
    return f"{domain.name.replace('-', '_')}_keys"


def keeper(domain: Domain) -> str:
    """Who may forget persons."""
    return f"{domain.name}-keeper"


def keys(domain: Domain) -> Plan:
    """The keys of persons lie apart from what is sealed under them."""
    database, writer, readers = keys_database(domain), f"{domain.name}-write", (f"{domain.name}-read", OPERATOR)
    arguments = ("migrate", database, writer, *readers)
    return Plan(
        databases=(Database(database, keeper(domain), (writer, *readers)),),
        jobs=(
            Job(
                f"{domain.name}-keys-migrate",
                "eventstore.personal",
                arguments,
                keeper(domain),
                keys_migrate.inputs(),
            ),
        ),
    )


def write_side(domain: Domain) -> Plan:
    writer, follower, migrator = (f"{domain.name}-{role}" for role in ("write", "read", "migrate"))
    database, checkpoints = events_database(domain), evidence.topic(domain.name)
    return Plan(
        topics=(
            Topic(
                domain.events_topic,
                domain.partitions,
                {**FOREVER, **TIME_OF_ARRIVAL, **UNPACKED, **ONE_RECORD},
            ),
            Topic(checkpoints, 1, FOREVER),
            Topic(domain.commands_topic, domain.partitions, {**SOON_GONE, **UNPACKED, **ONE_RECORD}),
            Topic(domain.strange_commands_topic, 1, {**FOREVER, **UNPACKED, **ONE_LETTER}),
        ),
        acls=(
            *(
                Acl(writer, "topic", topic, ("READ", "WRITE", "DESCRIBE"))
                for topic in (domain.events_topic, checkpoints, domain.commands_topic)
            ),
            Acl(writer, "topic", domain.strange_commands_topic, ("WRITE", "DESCRIBE")),
            Acl(writer, "group", domain.commands_topic, ("READ",)),
        ),
        databases=(Database(database, migrator, (writer, follower, OPERATOR, CONSOLE)),),
        jobs=(
            Job(
                f"{domain.name}-events-migrate",
                "eventstore",
                ("migrate", database, writer, OPERATOR, "--follower", follower, "--follower", CONSOLE),
                migrator,
                migrate.inputs(),
            ),
        ),
        scopes=domain.every_scope,
        claims=(domain.owner,) if domain.owner else (),
        processes=(
            Process(writer, "domains", (domain.name,), writer, ("kafka", "postgres", "issuer"), (domain.name, "write")),
        ),
    )
