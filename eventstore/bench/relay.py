"""headrace bench relay: from the store to Kafka, beside reading the store alone and publishing alone."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import uuid4

import typer
import uvloop
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from eventstore.bench import limit, ours
from eventstore.bench.commands import compared, measuring, surroundings
from eventstore.bench.place import PRINCIPAL, Place
from eventstore.cloudevents import encode
from eventstore.kafka import KafkaTopic
from eventstore.lead import Alone
from eventstore.postgres import PostgresStore
from eventstore.relay import PAGE, Relay
from eventstore.topic import Genuine, Placed
from infra.bench.figures import Clock, Figure, Round, busy
from infra.bench.servers import running
from infra.bench.shown import AsJson, bench, show, told
from infra.garbage import collect_rarely
from infra.kafka import librdkafka
from infra.native import Native, here, kafka
from infra.partitions import partition_of
from infra.plan import Acl, Topic
from infra.settings import Settings

PARTITIONS = 4
PREFIX = "bench-relay."
SOURCE = "/bench"
SECONDS = 600
# What the relay promises, at the settings that serve the peer best.
PUBLISHING: dict[str, Any] = {
    "enable.idempotence": True,
    "enable.gapless.guarantee": True,
    "acks": "all",
    "message.timeout.ms": 0,
    "linger.ms": 3,
    "compression.type": "none",
    "message.max.bytes": 4 * 1024 * 1024,
    "log_level": 3,
}


@bench.command()
def relay(
    events: Annotated[int, typer.Option(min=1000, max=10_000_000, help="So many are recorded first.")] = 50_000,
    payload: Annotated[int, typer.Option(min=11, max=1_000_000, help="Bytes of each event.")] = 250,
    rounds: Annotated[int, typer.Option(min=1, max=99, help="Each figure is the median of so many rounds.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Carry events from the store to Kafka, beside the slower of reading them and publishing them alone."""
    with measuring() as place, broker(here()) as topics:
        told("filling the store")
        asyncio.run(ours.fill(place.conninfo, events, payload))
        records = asyncio.run(encoded(place))
        collect_rarely()  # nor does the relay pay for what the other side publishes
        taken: dict[str, list[Round]] = {"relay": [], "raw_read": [], "raw_produce": []}
        for number in range(rounds):
            told(f"round {number + 1} of {rounds}")
            taken["relay"].append(uvloop.run(relayed(place, topics.new(), len(records))))
            taken["raw_read"].append(limit.reads(place.conninfo, PAGE))
            taken["raw_produce"].append(produced(place.settings, topics.new(), records))
        show("relay", beside(taken) | {"events": len(records)} | surroundings(place, payload), as_json)


def beside(taken: dict[str, list[Round]]) -> dict[str, Any]:
    """Our figure, that of each side alone, and the ratio to the slower one."""
    figures = {name: Figure.of(rounds) for name, rounds in taken.items()}
    slower = min((figures["raw_read"], figures["raw_produce"]), key=lambda figure: figure.events_per_second)
    told = compared(figures["relay"], bound=slower)
    alone = {name: {"events_per_second": figures[name].events_per_second} for name in ("raw_read", "raw_produce")}
    return told | alone | {"processor_microseconds_per_event": busy(taken)}


@dataclass(frozen=True, slots=True)
class Topics:
    """Makes topics, empty and each with a name of its own."""

    system: Native

    def new(self) -> str:
        name = f"{PREFIX}{uuid4().hex}"
        self.system.create_topic(Topic(name, PARTITIONS))
        return name


@contextmanager
def broker(system: Native) -> Iterator[Topics]:
    """Kafka, where the principal of the measurements may publish; afterwards everything is as it was."""
    with running(system, "kafka"):
        try:
            system.allow(Acl(PRINCIPAL, "topic", f"{PREFIX}*", ("READ", "WRITE", "DESCRIBE")))
            yield Topics(system)
        finally:
            client = AdminClient(librdkafka(system.settings(kafka.ADMIN), log_level=0))
            gone = [name for name in client.list_topics(timeout=10).topics if name.startswith(PREFIX)]
            for future in client.delete_topics(gone).values() if gone else ():
                future.result()
            system.admin().provision([system.settings(PRINCIPAL)], (), ())


class Timed(KafkaTopic):
    """A topic that knows when the relay has found where to begin, and when so many records are acknowledged."""

    def expect(self, records: int) -> None:
        self.events = self.left = records
        self.done = asyncio.get_running_loop().create_future()

    async def tails(self, genuine: Genuine) -> Sequence[int]:
        found = await super().tails(genuine)
        self.clock = Clock()  # the relay may ask again before it begins, until the topic stands still
        self.clock.begin()
        return found

    async def publish(self, records: Sequence[Placed]) -> None:
        await super().publish(records)
        self.left -= len(records)
        if self.left <= 0:
            self.done.set_result(self.clock.round(self.events))


async def relayed(place: Place, name: str, events: int) -> Round:
    """The relay with everything that it does in service, from where it knows where to begin to the last report."""
    async with PostgresStore.open(place.conninfo) as store, Timed.open(place.settings, name, PARTITIONS) as topic:
        assert isinstance(topic, Timed)  # noqa: S101  # it opens what it is
        topic.expect(events)
        running = asyncio.create_task(Relay(store, topic, Alone(), SOURCE).run())
        try:
            async with asyncio.timeout(SECONDS):
                found: Round = await topic.done
                return found
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def encoded(place: Place) -> list[Placed]:
    """The whole log as records."""
    found: list[Placed] = []
    async with PostgresStore.open(place.conninfo) as store:
        while page := await store.read_log(after=len(found)):
            found += [(partition_of(event.stream.encode(), PARTITIONS), encode(event, SOURCE)) for event in page]
    return found


def produced(settings: Settings, topic: str, records: Sequence[Placed]) -> Round:
    """confluent-kafka, which only publishes what is encoded already, with the relay's guarantees."""
    producer = Producer(librdkafka(settings, **PUBLISHING))
    clock = Clock()
    clock.begin()
    for partition, record in records:
        while True:
            try:
                producer.produce(topic, record.value, record.key, partition, headers=record.headers)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()
    return clock.round(len(records))
