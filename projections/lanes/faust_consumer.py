"""faust's consumer, without tasks, streams and events for each record: messages go straight into a queue."""

import asyncio
from typing import Any

from faust.transport.drivers.aiokafka import Consumer

AT_ONCE = 100


class Straight(Consumer):  # type: ignore[misc]  # faust has no types that we follow
    """Everything but the way of a message is faust's: groups, rebalances, fetching, acknowledgements, commits."""

    def __init__(self, waiting: asyncio.Queue[Any], *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._waiting = waiting

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                messages = self.getmany(timeout=1.0)
                await self.sleep(0)
                taken = 0
                async for place, message in messages:
                    await self._take(place, message)
                    taken += 1
                    if taken % AT_ONCE == 0:
                        await asyncio.sleep(0)
        except (*self.consumer_stopped_errors, asyncio.CancelledError):
            if not self.transport.app.should_stop:
                raise

    async def _take(self, place: Any, message: Any) -> None:
        last = self._read_offset[place]
        if last is not None and message.offset < last:
            return
        if last and message.offset - last > 1 and self.app.topics.acks_enabled_for(message.topic):
            await self._add_gap(place, last + 1, message.offset)
        if self._waiting.full():
            # A rebalance must not wait for the worker.
            await self.wait_first(self._waiting.put(message), self.suspend_flow.wait())
        else:
            self._waiting.put_nowait(message)
        self._read_offset[place] = message.offset
