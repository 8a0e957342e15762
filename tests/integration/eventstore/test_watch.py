"""Who waits for the head is woken by what is recorded, whatever others send on the same channel."""

import asyncio
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from eventstore.link import parameters
from eventstore.postgres import PostgresStore
from eventstore.records import Append, NewEvent, NoStream

MOMENT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


@pytest.mark.parametrize("payload", ["", "all", "-1", "1e9", "٣", "9" * 19, "9" * 7000])
async def test_a_strange_notification_does_not_end_the_listening(place, payload):
    async with PostgresStore.open(place.reader) as waiting, PostgresStore.open(place.writer) as writing:
        await waiting.wait_beyond(0, 0.2)  # listens from now on
        with psycopg.connect(autocommit=True, **parameters(place.reader)) as stranger:
            channel = Identifier(f"{place.schema}.events")
            stranger.execute(SQL("NOTIFY {}, {}").format(channel, Literal(payload)))
        told = asyncio.create_task(waiting.wait_beyond(0, 60))
        await writing.append(Append("orders-1", [NewEvent("orders.X.v1", b"{}", MOMENT)], NoStream()))
        async with asyncio.timeout(20):
            assert await told == 1


async def test_a_position_that_is_not_true_is_believed_for_a_moment_only(place):
    async with PostgresStore.open(place.reader) as waiting, PostgresStore.open(place.writer) as writing:
        await waiting.wait_beyond(0, 0.2)
        with psycopg.connect(autocommit=True, **parameters(place.reader)) as stranger:
            channel = Identifier(f"{place.schema}.events")
            stranger.execute(SQL("NOTIFY {}, {}").format(channel, Literal("9" * 18)))
        async with asyncio.timeout(20):
            while await waiting.wait_beyond(10**18, 0.1) == 0:
                continue
            while await waiting.wait_beyond(10**18, 0.1) != 0:
                continue
        told = asyncio.create_task(waiting.wait_beyond(0, 60))
        await writing.append(Append("orders-1", [NewEvent("orders.X.v1", b"{}", MOMENT)], NoStream()))
        async with asyncio.timeout(20):
            assert await told == 1
