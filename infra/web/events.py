"""Server-sent events: answers that come as they are made."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)

STALL_SECONDS = 20.0
HEARTBEAT_SECONDS = 15.0
HEARTBEAT = b": here\n\n"
RETRY = b"retry: 1000\n\n"


class EventStream(StreamingResponse):
    """An answer of events; `closed` is called at its end. A reader that takes nothing for a while is dropped."""

    def __init__(
        self, events: AsyncGenerator[bytes, None], headers: Mapping[str, str], closed: Callable[[], None]
    ) -> None:
        plain = {"cache-control": "no-store", **headers}
        super().__init__(events, 200, plain, "text/event-stream")
        self._events, self._closed = events, closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["endless"] = True
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()
            self._closed()

    async def stream_response(self, send: Send) -> None:
        async def patiently(message: Any) -> None:
            async with asyncio.timeout(STALL_SECONDS):
                await send(message)

        try:
            await super().stream_response(patiently)
        except TimeoutError:
            log.info("a slow reader was dropped")
