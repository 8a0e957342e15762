"""What was set aside as none of our events: the letters of a dead-letter topic, and what today's code says of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from domains.kernel import Domain
from eventstore.store import EventStore
from infra.kafka import librdkafka
from infra.settings import Settings
from projections.errors import ReadUnavailable
from projections.placed import Arrived, Placed
from projections.publish import ONLY_PARTITION
from projections.records import FAILED_AT, ORIGIN, REASON, DeadLetter, judge

SILENCE_SECONDS = 5.0
LOOKING = {"group.id": "headrace-dlq", "enable.auto.commit": False, "auto.offset.reset": "earliest", "log_level": 0}
TOLD = 5

Verdict = Literal["stranger", "forged", "ours"]


@dataclass(frozen=True, slots=True)
class Letter:
    """A record as it came, with where it stands in the dead-letter topic, why it is there and since when."""

    number: int
    record: Arrived
    reason: str
    failed_at: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What today's code says of a letter.

    `stranger`: still none of our events. `forged`: it reads like one, but the store has no such event.
    `ours`: an event of the store. Its place in the order has passed, so it is not folded from here: when it is no copy
    of one that was folded, its views lack it, `verify` shows that, and a rebuild mends it.
    """

    letter: Letter
    verdict: Verdict
    why: str


def letters(settings: Settings, domain: Domain, start: int = 0) -> Iterator[Letter]:
    """The letters that are there now, from a number on, oldest first. Raises `ReadUnavailable`."""
    consumer = Consumer(librdkafka(settings, **LOOKING))
    try:
        topic = domain.dead_letter_topic
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, ONLY_PARTITION), timeout=SILENCE_SECONDS)
        at = max(low, start)
        if at < high:
            consumer.assign([TopicPartition(topic, ONLY_PARTITION, at)])
        while at < high:
            message = consumer.poll(SILENCE_SECONDS)
            if message is None or message.error() is not None:
                raise ReadUnavailable(f"{topic}: {message.error().str() if message else 'no answer'}")
            at = message.offset() + 1
            yield letter(message)
    except KafkaException as error:
        raise ReadUnavailable(f"{domain.dead_letter_topic}: {error.args[0].str()}") from None
    finally:
        consumer.close()


def letter(message: Message) -> Letter:
    headers = message.headers() or []
    own, told = headers[:-TOLD], {name: (value or b"").decode() for name, value in headers[-TOLD:]}
    place = (told[f"{ORIGIN}topic"], int(told[f"{ORIGIN}partition"]), int(told[f"{ORIGIN}offset"]))
    record = Arrived(*place, message.key(), message.value(), own)
    return Letter(message.offset(), record, told[REASON], told[FAILED_AT])


async def judged(domain: Domain, store: EventStore, letter: Letter) -> Judged:
    """Judges a letter anew. Raises `StoreUnavailable`."""
    found = judge(domain, letter.record)
    if isinstance(found, DeadLetter):
        return Judged(letter, "stranger", found.reason)
    if not await recorded(store, found):
        return Judged(letter, "forged", f"the store has no such event at position {found.position}")
    return Judged(letter, "ours", f"event {found.version} of stream {found.stream}, set aside because {letter.reason}")


async def recorded(store: EventStore, found: Placed) -> bool:
    """Whether the store has this very event."""
    stored = await store.read_log(after=found.position - 1, limit=1)
    return bool(stored) and (stored[0].position, stored[0].id) == (found.position, found.recorded.id)
