"""Topics and read databases for measuring, on the project's own servers; afterwards everything is as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from domains.kernel import Domain
from domains.plan import write_side
from eventstore.migrate import connect
from infra.bench.servers import running
from infra.kafka import librdkafka
from infra.native import Native, kafka
from infra.partitions import partition_of
from infra.postgres import conninfo
from infra.settings import Settings
from projections.bench.domain import EVENTS_OF_EACH, counting, record
from projections.migrate import migrate
from projections.plan import read_database, read_side

SERVERS = {"postgres", "kafka"}
FLUSHED = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """A domain whose topic is full and whose views are empty."""

    domain: Domain
    settings: Settings
    conninfo: str
    events: int


@contextmanager
def opened(system: Native, events: int, names: tuple[str, ...], each: int = EVENTS_OF_EACH) -> Iterator[list[Place]]:
    """A place for each name, with so many events of each key."""
    domains = [counting(name) for name in names]
    with running(system, *SERVERS):
        try:
            yield [prepared(system, domain, events, each) for domain in domains]
        finally:
            for domain in domains:
                cleared(system, domain)


def prepared(system: Native, domain: Domain, events: int, each: int) -> Place:
    cleared(system, domain)
    plan = write_side(domain) + read_side(domain)
    reader = f"{domain.name}-read"
    for database in plan.databases:
        if database.name == read_database(domain):
            system.create_database(database)
            with connect(conninfo(system.settings(database.owner), database.name), 30) as connection:
                migrate(connection, domain)
    users = [system.settings(name) for name in {acl.principal for acl in plan.acls}]
    system.admin().provision(users, plan.acls, plan.topics)
    fill(system.settings(f"{domain.name}-write"), domain, events, each)
    settings = system.settings(reader)
    return Place(domain, settings, conninfo(settings, read_database(domain)), events)


def fill(settings: Settings, domain: Domain, events: int, each: int) -> None:
    producer = Producer(librdkafka(settings, **{"enable.idempotence": True, "linger.ms": 20, "log_level": 0}))
    keys = max(1, events // each)
    for position in range(1, events + 1):
        made = record(domain, position, keys)
        place = partition_of(made.key, domain.partitions)
        producer.produce(domain.events_topic, made.value, made.key, place, headers=made.headers)
        if position % FLUSHED == 0:
            producer.flush()
    producer.flush()


def cleared(system: Native, domain: Domain) -> None:
    plan = write_side(domain) + read_side(domain)
    for database in plan.databases:
        if database.name == read_database(domain):
            system.drop_database(database)
    client = AdminClient(librdkafka(system.settings(kafka.ADMIN), log_level=0))
    there = client.list_topics(timeout=10).topics
    gone = [topic.name for topic in plan.topics if topic.name in there]
    for future in client.delete_topics(gone).values() if gone else ():
        future.result()
    groups = [f"{domain.name}.{suffix}" for suffix in ("views.v1", "stock")]
    for future in client.delete_consumer_groups(groups).values():
        try:
            future.result()
        except KafkaException:
            continue  # there was none
