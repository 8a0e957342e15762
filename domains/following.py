"""Operations as server-sent events: how one stands, and how it ends."""

import time
from asyncio import sleep
from collections.abc import AsyncGenerator

import orjson
from fastapi import Request, Response

from domains.answers import kept
from eventstore.errors import StoreUnavailable
from eventstore.operations import Operation, Operations
from infra.web import Problem
from infra.web.events import HEARTBEAT, HEARTBEAT_SECONDS, RETRY, EventStream

STREAMS = 200
LONGEST_SECONDS = 300.0
SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
JSON = "application/json"


class Following:
    """The streams of one process. Each ends with its operation, and with the token that asked for it."""

    def __init__(self, operations: Operations) -> None:
        self._operations, self._open = operations, 0

    def answer(self, request: Request, operation: Operation, until: float) -> Response:
        """Nothing more, for who has heard the end and comes again. Raises `Problem` 503."""
        if operation.answer is not None and request.headers.get("last-event-id") == status(operation):
            return Response(None, 204)
        if self._open >= STREAMS:
            wait = {"retry-after": "5"}
            raise Problem(503, "temporary-reduced-capacity", "too many streams are open", headers=wait)
        self._open += 1
        return EventStream(self._events(operation, min(until, time.time() + LONGEST_SECONDS)), {}, self._closed)

    def _closed(self) -> None:
        self._open -= 1

    async def _events(self, operation: Operation, until: float) -> AsyncGenerator[bytes, None]:
        yield RETRY + event(operation)
        pause, beat = SHORTEST_PAUSE, time.monotonic() + HEARTBEAT_SECONDS
        while operation.answer is None and time.time() < until:
            await sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)
            try:
                found = await self._operations.find(operation.id)
            except StoreUnavailable:
                return  # whoever listens comes again
            if found is None:
                return
            operation = found
            if operation.answer is not None:
                yield event(operation)
            elif time.monotonic() >= beat:
                yield HEARTBEAT
                beat = time.monotonic() + HEARTBEAT_SECONDS


def event(operation: Operation) -> bytes:
    return b"event: operation\ndata: " + body(operation) + b"\nid: " + status(operation).encode() + b"\n\n"


def status(operation: Operation) -> str:
    if operation.answer is None:
        return "accepted"
    return "succeeded" if kept(operation.answer).status < 400 else "failed"


def body(operation: Operation) -> bytes:
    answered = {} if operation.answer is None else {"answer": orjson.Fragment(operation.answer)}
    return orjson.dumps({"id": operation.id, "status": status(operation), **answered})


def shown(operation: Operation) -> Response:
    waits = {"retry-after": "1", "cache-control": "no-store"}
    headers = waits if operation.answer is None else {"cache-control": "private, max-age=60"}
    return Response(body(operation), 200, headers, JSON)
