"""Records with headers whose names are no UTF-8, which no client makes that we know."""

import asyncio
import struct
from concurrent.futures import ThreadPoolExecutor

from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c

from infra.kafka import aiokafka

CRC, BEHIND_CRC = 17, 21


def renamed(made, *names):
    """A batch, uncompressed, whose headers are called so; before, each is called by as many question marks."""
    for name in names:
        made = made.replace(b"?" * len(name), name, 1)
    return made[:CRC] + struct.pack(">I", calc_crc32c(bytes(made[BEHIND_CRC:]))) + made[BEHIND_CRC:]


def send(settings, topic, partition, key, value):
    """Publishes one, and returns when it is there."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _send(settings, topic, partition, key, value)).result(30)


async def _send(settings, topic, partition, key, value):
    async with AIOKafkaProducer(**aiokafka(settings)) as producer:
        batch = producer.create_batch()
        batch.append(key=key, value=value, timestamp=None, headers=[("????", b"strange")])
        batch._buffer = renamed(batch._build(), b"\xff\xfe\xfd\xfc")
        await (await producer.send_batch(batch, topic, partition=partition))
