"""Connections to PostgreSQL that commit each statement, and that never hang."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from select import POLLIN, poll
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict

from eventstore.errors import EventsDetached, EventStoreError, StoreUnavailable

# The server gives up first, and says so; a server that says nothing at all is hung up on.
STATEMENT_SECONDS = 10
SILENCE_SECONDS = 15
OPTIONS = f"-c timezone=UTC -c synchronous_commit=on -c statement_timeout={STATEMENT_SECONDS}s -c jit=off"
DETACHED = "HR002"  # raised by our own schema
KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}


def parameters(conninfo: str) -> dict[str, Any]:
    """The parameters of a connection of ours; options in the string come after ours and win."""
    given = conninfo_to_dict(conninfo)
    options = f"{OPTIONS} {given.get('options') or ''}".strip()
    return {"connect_timeout": 5, **KEEPALIVE, **given, "options": options}


async def connect(conninfo: str) -> AsyncConnection[Any]:
    """Raises `StoreUnavailable`."""
    try:
        return await AsyncConnection.connect(autocommit=True, **parameters(conninfo))
    except psycopg.Error as error:
        raise StoreUnavailable(sentence(error)) from error


@contextmanager
def patience(connection: AsyncConnection[Any], seconds: float = SILENCE_SECONDS) -> Iterator[None]:
    """Hang up if the statement inside takes longer: it then fails like any lost connection.

    Cancelling it would not do: psycopg then waits for the server to confirm.
    """
    timer = asyncio.get_running_loop().call_later(seconds, hang_up, connection)
    try:
        yield
    finally:
        timer.cancel()


class BoundedConnection(AsyncConnection[Any]):
    """A connection on which no wait for the server lasts longer, be it for an answer, a commit or a cancellation."""

    silence: float = SILENCE_SECONDS

    async def wait(self, gen: PQGen[RV], *given: Any, **more: Any) -> RV:
        with patience(self, self.silence):
            return await super().wait(gen, *given, **more)


def hung_up(connection: AsyncConnection[Any]) -> bool:
    """Whether the server has ended an idle connection."""
    with suppress(psycopg.Error, OSError):
        waiting = poll()
        waiting.register(connection.fileno(), POLLIN)
        while not connection.closed and waiting.poll(0):
            connection.pgconn.consume_input()
    return connection.closed


def hang_up(connection: AsyncConnection[Any]) -> None:
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)


def unanswered(error: psycopg.Error) -> EventStoreError:
    """Why a statement that reads has no answer."""
    kind = EventsDetached if error.sqlstate == DETACHED else StoreUnavailable
    return kind(sentence(error))


def sentence(error: psycopg.Error) -> str:
    """The first line of what the database said: the lines after it may show rows."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
