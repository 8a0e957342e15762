"""What a producer promises, at a real broker."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import patch
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.produce import ProduceRequest

from domains.orders import domain as orders
from domains.plan import ANY_TIME, write_side
from eventstore.kafka import looking, read
from infra.errors import NotPublished
from infra.plan import Acl, Topic
from infra.producer import Outgoing, Producer
from projections.errors import ReadUnavailable
from projections.placed import Arrived
from projections.publish import KafkaPublisher
from projections.records import DeadLetter

PARTITIONS = 4
EVENTS = next(topic.config for topic in write_side(orders).topics if topic.name == orders.events_topic)
OF_THEIR_OWN_TIME = {**EVENTS, "message.timestamp.type": "CreateTime", **ANY_TIME}
LONG_AGO = 1_291_192_000_000  # 2010-12-01, which a broker holds for longer ago than it remembers a producer


@pytest.fixture
def settings(floor):
    return floor.settings("contract-write")


@pytest.fixture
def topics(floor):
    """Two topics, the second of which takes small records only."""
    names = [f"producer-{uuid4().hex}", f"producer-{uuid4().hex}"]
    for name, most in zip(names, ("1000000", "2000"), strict=True):
        floor.create_topic(Topic(name, PARTITIONS, {"max.message.bytes": most}))
        floor.allow(Acl("contract-write", "topic", name, ("READ", "WRITE", "DESCRIBE")))
    return names


@pytest.fixture
async def producer(settings):
    producer = Producer(settings)
    yield producer
    await producer.close()


def outgoing(topic, partition, value):
    return Outgoing(topic, partition, b"key", value, [])


async def values(settings, topic, partition):
    place = TopicPartition(topic, partition)
    async with looking(settings, [place]) as consumer:
        end = (await consumer.end_offsets([place]))[place]
        return [record.value for record in await read(consumer, place, 0, end)]


async def test_several_topics_and_partitions_are_one_request(producer, topics, settings, monkeypatch):
    sent, send = [], AIOKafkaClient.send

    async def noted(client, node, request, **more):
        sent.append(request)
        return await send(client, node, request, **more)

    monkeypatch.setattr(AIOKafkaClient, "send", noted)
    records = [outgoing(topic, number % PARTITIONS, b"%d" % number) for topic in topics for number in range(40)]
    await producer.send(outgoing(topic, 0, b"it knows the topic now") for topic in topics)
    sent.clear()
    await producer.send(records)
    assert [type(request) for request in sent] == [ProduceRequest]
    for topic in topics:
        assert await values(settings, topic, 1) == [b"%d" % number for number in range(1, 40, PARTITIONS)]


async def test_more_than_a_batch_arrives_in_order(producer, topics, settings):
    large = [b"%04d" % number + b"x" * 300_000 for number in range(20)]
    await producer.send(outgoing(topics[0], 2, value) for value in large)
    assert await values(settings, topics[0], 2) == large


async def test_after_a_refusal_nothing_more_is_taken(producer, topics, settings):
    with pytest.raises(NotPublished, match="MessageSizeTooLarge"):
        await producer.send([outgoing(topics[1], 0, b"x" * 5000)])
    with pytest.raises(NotPublished, match="MessageSizeTooLarge"):
        await producer.send([outgoing(topics[0], 0, b"fine")])
    assert await values(settings, topics[0], 0) == []


async def test_a_topic_of_others_is_refused(producer, floor):
    name = f"foreign-{uuid4().hex}"
    floor.create_topic(Topic(name, 1, {}))
    with pytest.raises(NotPublished):
        await producer.send([outgoing(name, 0, b"x")])


async def test_what_is_closed_takes_nothing(producer, topics):
    await producer.send([outgoing(topics[0], 0, b"x")])
    await producer.close()
    with pytest.raises(NotPublished, match="closed"):
        await producer.send([outgoing(topics[0], 0, b"y")])


async def test_what_was_cut_off_is_not_overtaken(producer, topics, settings):
    await producer.send([outgoing(topics[0], 0, b"first")])
    large = (outgoing(topics[0], 0, b"%d" % number * 400_000) for number in range(9))
    sending = asyncio.create_task(producer.send(large))
    await asyncio.sleep(0)  # it has begun
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    with pytest.raises(NotPublished, match="cut off"):
        await producer.send([outgoing(topics[0], 0, b"later")])
    assert b"later" not in await values(settings, topics[0], 0)


async def test_a_publisher_goes_on_with_another_producer(topics, settings):
    domain = SimpleNamespace(dead_letter_topic=topics[1])
    letter = DeadLetter(Arrived("events", 0, 7, b"key", b"strange", []), "strange")
    async with KafkaPublisher.open(settings, domain) as publisher:
        with pytest.raises(ReadUnavailable, match="MessageSizeTooLarge"):
            await publisher.dead([replace(letter, record=Arrived("events", 0, 8, b"key", b"x" * 5000, []))])
        await publisher.dead([letter])
    assert await values(settings, topics[1], 0) == [b"strange"]


@pytest.mark.parametrize(("config", "times"), [(EVENTS, 1), (OF_THEIR_OWN_TIME, 2)])
async def test_a_page_of_past_events_whose_answer_a_crash_took_is_taken_once(producer, settings, floor, config, times):
    """Once by the topic of the events; twice if it bore the times of the events, so this can fail."""
    topic, send = f"producer-{uuid4().hex}", AIOKafkaClient.send
    floor.create_topic(Topic(topic, 1, config))
    floor.allow(Acl("contract-write", "topic", topic, ("READ", "WRITE", "DESCRIBE")))
    lost = []

    async def answer_lost(client, node, request, **more):
        answer = await send(client, node, request, **more)
        if isinstance(request, ProduceRequest) and not lost:
            lost.append(answer)
            floor.kill("kafka")
            await asyncio.to_thread(floor.up, only={"kafka"})
            raise KafkaConnectionError("the answer is lost")
        return answer

    with patch.object(AIOKafkaClient, "send", answer_lost):
        await producer.send([Outgoing(topic, 0, b"key", b"page", [], LONG_AGO)])
    assert lost
    assert await values(settings, topic, 0) == [b"page"] * times
