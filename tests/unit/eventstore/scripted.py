"""A server that does what a test has written down, and the committer over it."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from eventstore.batch import Command
from eventstore.committer import GroupCommitter, Limits
from eventstore.errors import StoreUnavailable
from eventstore.records import Any, Append, Appended, IdempotencyKey, NewEvent
from eventstore.session import Backend

MOMENT = datetime(2010, 12, 1, tzinfo=UTC)
QUICK = Limits(settle_seconds=0.2, retry_seconds=(0.001, 0.01), lanes=1)
TWO = replace(QUICK, lanes=2, shared_from=4)


class Server:
    """What the sessions of a test talk to: a log, and a script of what goes wrong at each batch."""

    def __init__(self, *script):
        self.script = list(script)
        self.recorded: dict[str, Appended] = {}
        self.batches: list[list[str]] = []
        self.connections = 0
        self.refusing = 0
        self.fenced: list[int] = []
        self.may_fence = True

    async def connect(self):
        if self.refusing:
            self.refusing -= 1
            raise StoreUnavailable("refused")
        self.connections += 1
        return Session(self, Backend(self.connections, MOMENT))

    def record(self, batch):
        for command in batch:
            stream = command.parts[0].stream
            self.recorded[stream] = Appended(stream, 1, len(self.recorded) + 1)
        return [self.recorded[command.parts[0].stream] for command in batch]


class Session:
    def __init__(self, server, backend):
        self.server, self.backend, self.closed = server, backend, False

    async def append(self, batch):
        assert not self.closed
        self.server.batches.append([command.parts[0].stream for command in batch])
        await asyncio.sleep(0)
        act = self.server.script.pop(0) if self.server.script else self.server.record
        return act(batch)

    async def outcome(self, command):
        return self.server.recorded.get(command.parts[0].stream)

    async def fence(self, backend):
        self.server.fenced.append(backend.pid)
        return self.server.may_fence

    async def close(self):
        self.closed = True


def fails(error):
    def act(batch):  # noqa: ARG001
        raise error

    return act


def command(name, key=None):
    events = [NewEvent("orders.X.v1", b"1", MOMENT)]
    return Command.of(Append(name, events, Any(), IdempotencyKey(key, b"f") if key else None))


class Committing:
    def __init__(self, server, limits=QUICK):
        self.committer = GroupCommitter(server.connect, limits)

    async def __aenter__(self):
        await self.committer.open()
        return self.committer

    async def __aexit__(self, *error):
        await self.committer.close(1)


async def sent(committer, *commands):
    async with asyncio.timeout(10):
        return await asyncio.gather(*map(committer.append, commands), return_exceptions=True)
