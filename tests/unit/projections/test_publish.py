"""A broker that is away is an outage: who publishes is told, and a later attempt begins anew."""

import asyncio

import pytest

from domains.orders import domain
from infra.settings import Settings
from projections import publish
from projections.errors import ReadUnavailable
from projections.publish import KafkaPublisher
from tests.unit.projections.test_projector import placed


class Away:
    """What aiokafka's idempotent producer is like while no broker answers."""

    def __init__(self):
        self.stopped, self._sender = False, self
        self.sender_task = None

    async def send_batch(self, *_, **__):
        await asyncio.get_running_loop().create_future()

    def create_batch(self):
        return self

    def append(self, **_):
        return self

    async def stop(self):
        self.stopped = True


async def test_a_broker_that_takes_nothing_is_told_of_and_its_producer_replaced(monkeypatch, tmp_path):
    monkeypatch.setattr(publish, "SEND_SECONDS", 0.01)
    settings = Settings(principal="orders-read", credentials=tmp_path)
    publisher, away = KafkaPublisher(settings, domain), Away()
    first = publisher._producer
    first._producer = away
    with pytest.raises(ReadUnavailable, match="has not taken a record"):
        await publisher.skips([placed(1, "1").recorded])
    assert (away.stopped, first.broken, publisher._producer is not first) == (True, True, True)
