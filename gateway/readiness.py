"""Which instances of a service are ready: they are asked beside the requests, whose way it costs nothing."""

import asyncio
from random import uniform

from gateway.connection import Connection
from gateway.errors import TooSlow, UpstreamError
from gateway.instance import Instance, now
from gateway.upstream import Upstream
from infra.web.readiness import READYZ

EVERY_SECONDS = 2.0
ANSWER_SECONDS = 1.0
MOST_UNANSWERED = 2  # one may be lost to a moment in which all are busy
NOT_READY = 503


class Watch:
    """Asks each instance of a service again and again, while there are several: of one alone nothing would follow."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream, self._lines = upstream, dict[Instance, Line]()
        self._question = f"GET {READYZ} HTTP/1.1\r\nhost: {upstream.authority.decode()}\r\n\r\n".encode()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self.look()
                # Several gateways must not ask all at once.
                await asyncio.sleep(EVERY_SECONDS * uniform(0.8, 1.2))  # noqa: S311  # no secret
        finally:
            for line in self._lines.values():
                line.close()

    async def look(self) -> None:
        """Asks each once, all together, within `ANSWER_SECONDS`."""
        known = await self._upstream.known()
        for instance in self._lines.keys() - known:
            self._lines.pop(instance).close()
        if len(known) < 2:
            for instance in known:
                instance.says(None)
            return
        await asyncio.gather(*(self._lines.setdefault(one, Line(one)).ask(self._question) for one in known))


class Line:
    """A connection of its own to an instance: neither a full pool nor a breaker keeps the question from it."""

    def __init__(self, instance: Instance) -> None:
        self._instance, self._connection, self._unanswered = instance, Connection(), 0
        self._connection.reusable = False

    async def ask(self, question: bytes) -> None:
        """Has the instance know what it says of itself. A service that does not know the question counts as ready.

        One that answers requests meanwhile is only busy: its load would make the next one so.
        """
        answered = self._instance.well_answered
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status = await self._status(question)
        except (OSError, TimeoutError, UpstreamError) as error:
            self.close()
            if isinstance(error, TimeoutError | TooSlow) and self._instance.well_answered > answered:
                self._unanswered = 0
                return
            self._unanswered += 1
            if self._unanswered >= MOST_UNANSWERED:
                self._instance.says("it does not answer")
            return
        self._unanswered = 0
        self._instance.says("it says so" if status == NOT_READY else None)

    async def _status(self, question: bytes) -> int:
        if not self._connection.reusable:
            self._connection.close()
            self._connection = await self._instance.connected()
        connection = self._connection
        connection.send(question, now() + ANSWER_SECONDS)
        await connection.answer()
        async for _ in connection.rest(ANSWER_SECONDS):
            pass
        connection.take()
        return connection.status

    def close(self) -> None:
        self._connection.close()
