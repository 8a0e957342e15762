"""Streams of server-sent events and their readers."""

import asyncio

import pytest

from infra.web import events
from infra.web.events import EventStream

SCOPE = {"type": "http", "asgi": {"spec_version": "2.4"}}


class Reader:
    """Takes so many messages, and then nothing any more."""

    def __init__(self, takes):
        self.takes, self.taken = takes, 0

    async def send(self, _):
        if self.taken == self.takes:
            await asyncio.Event().wait()
        self.taken += 1

    async def receive(self):
        await asyncio.Event().wait()


@pytest.mark.parametrize("takes", [0, 1, 5], ids=["nothing", "the head", "some events"])
async def test_a_reader_that_takes_nothing_any_more_is_dropped_with_all_that_it_held(monkeypatch, takes):
    monkeypatch.setattr(events, "STALL_SECONDS", 0.01)
    made, ended, closed = [], [], []

    async def endless():
        try:
            while True:
                made.append(b": here\n\n")
                yield made[-1]
        finally:
            ended.append(True)

    reader = Reader(takes)
    async with asyncio.timeout(20):
        await EventStream(endless(), {}, lambda: closed.append(True))(dict(SCOPE), reader.receive, reader.send)
    assert (reader.taken, closed) == (takes, [True])
    assert len(made) == takes  # after the head, the one that nobody took: no more than that is made in advance
    assert len(ended) == (takes > 0)
