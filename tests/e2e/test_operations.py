"""Commands that are answered later, on the real topic: each exactly once, and nobody else's."""

import asyncio
import json

from confluent_kafka import KafkaError, Producer

from domains.orders import domain
from infra.kafka import librdkafka
from infra.plan import KAFKA_UI

LINE = {"sku": "85123A", "description": "T-LIGHT HOLDER", "quantity": 6, "unit_price": "2.55"}
PLACE = {"customer": "17850", "placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE]}
STRANGE = (
    b"not JSON \xff",
    b'{"specversion":"1.0","type":"orders.commands.place","subject":"orders-1","id":"orders-1"}',
)


async def later(client, order):
    headers = {"prefer": "respond-async", "idempotency-key": f'"later-{order}"'}
    return await client.post(f"/v1/orders/{order}/place", data=json.dumps(PLACE), headers=headers)


async def outcome(client, place):
    async with asyncio.timeout(90):
        while True:
            answer = await client.get(place)
            if answer.status == 200 and (told := await answer.json())["status"] != "accepted":
                return told


async def test_a_crash_in_mid_work_leaves_each_command_done_once(system, client, number, records_of):
    orders = [f"{number}{index}" for index in range(30)]
    accepted = await asyncio.gather(*(later(client, order) for order in orders))
    assert {answer.status for answer in accepted} == {202}
    system.kill("orders-write")
    await asyncio.to_thread(system.up)
    told = [await outcome(client, answer.headers["location"]) for answer in accepted]
    assert {one["status"] for one in told} == {"succeeded"}
    for order in orders:
        events = (await (await client.get(f"/v1/orders/{order}/events")).json())["events"]
        assert [event["type"] for event in events] == ["orders.OrderPlaced.v1"]
    records = records_of(domain.commands_topic)
    assert {f"orders-{order}".encode() for order in orders} <= {one.key() for part in records.values() for one in part}


async def test_what_nobody_accepted_is_set_aside_byte_for_byte(system, client, number, records_of):
    write(system, "orders-write", STRANGE)
    place = (await later(client, number)).headers["location"]
    assert (await outcome(client, place))["status"] == "succeeded"
    async with asyncio.timeout(60):
        while not set(STRANGE) <= (dead := {one.value() for one in records_of(domain.strange_commands_topic, 1)[0]}):
            await client.get(place)
    assert set(STRANGE) <= dead


async def test_no_other_principal_writes_commands(system):
    assert write(system, KAFKA_UI, [b"x"]) == {KafkaError.TOPIC_AUTHORIZATION_FAILED}
    assert write(system, "orders-read", [b"x"]) == {KafkaError.TOPIC_AUTHORIZATION_FAILED}


def write(system, principal, values):
    """Writes to the commands topic as somebody; the errors that came back."""
    producer, errors = Producer(librdkafka(system.settings(principal), log_level=0)), set()
    for value in values:
        producer.produce(domain.commands_topic, value, b"orders-1", on_delivery=lambda error, _: errors.add(error))
    producer.flush(20)
    return {error.code() for error in errors if error is not None}
