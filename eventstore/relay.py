"""Carries committed events from the store to the topic: in order, without loss and without doubling."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from time import monotonic

from eventstore.cloudevents import encode
from eventstore.errors import EventsDetached, EventStoreError, LogBroken
from eventstore.lead import Lead, while_leading
from eventstore.records import RecordedEvent
from eventstore.store import EventStore
from eventstore.topic import Placed, Topic
from infra.partitions import partition_of

log = logging.getLogger(__name__)

FIRST_PAGE, PAGE = 250, 2000
ENDS_PAGE = 10_000
PAGE_BYTES = 8 * 1024 * 1024
AHEAD = 1  # pages
IN_FLIGHT = (1 + AHEAD) * PAGE
ENCODED_AT_ONCE = 250
WAIT_SECONDS = 1.0
GATHER_SECONDS = 0.03  # Kafka takes three times as many at once for nearly the same, and so does everyone behind it
# What a killed leader has sent may reach the topic after it answered us: tails that rest for so long are believed.
SETTLE_SECONDS = 1.0
STALL_SECONDS = 5.0
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)


class Relay:
    """The topic is the only checkpoint: whoever begins asks each partition how far it is, and goes on from there."""

    def __init__(self, store: EventStore, topic: Topic, lead: Lead, source: str) -> None:
        self._store, self._topic, self._lead, self._source = store, topic, lead, source
        self._failures = 0
        self.leading = False
        self.position = 0
        self.head = 0
        self._problem: str | None = "the relay has not begun"
        self._publishing = 0
        self._publishing_since: float | None = None

    @property
    def lag(self) -> int:
        """How many events are known to wait. Only the leader knows."""
        return max(0, self.head - self.position)

    def problem(self) -> str | None:
        """Why events don't flow, or None. Who waits for another process to give up the lead has no problem."""
        if self._lead.elsewhere:
            return None
        if self._publishing_since is not None and monotonic() - self._publishing_since > STALL_SECONDS:
            return f"the topic has acknowledged nothing for {monotonic() - self._publishing_since:.0f} s"
        return self._problem

    async def run(self) -> None:
        """Relay until cancelled. Whatever fails, it begins anew from what the topic has."""
        while True:
            try:
                async with self._lead.held() as leading:
                    await while_leading(leading, self._relay())
            except EventStoreError as error:
                self._problem = str(error)
                log.warning("the relay begins anew: %s", error)
            except Exception as error:
                self._problem = f"{type(error).__name__}: {error}"
                log.exception("the relay begins anew after an unforeseen error")
            finally:
                self.leading = False
            await asyncio.sleep(PAUSES[min(self._failures, len(PAUSES) - 1)])
            self._failures += 1

    async def _relay(self) -> None:
        # Whoever led before us can have sent only what the store has by now.
        inherited = await self._store.head()
        tails = await self._topic.tails(self._genuine)
        self.position = await self._begins(tails)
        self.leading, self._problem = True, None
        sending = deque[asyncio.Task[int]]()
        reading: asyncio.Task[Sequence[RecordedEvent]] | None = None
        read, size = self.position, FIRST_PAGE
        try:
            while True:
                began = monotonic()
                events = await (reading or self._page(read, size))
                contiguous(read, events)
                whole = len(events) == size
                size = next_size(events) if whole else FIRST_PAGE
                reading = asyncio.create_task(self._page(events[-1].position, size)) if whole else None
                placed = await self._placed(events, tails)
                if placed and read < inherited:
                    tails, inherited = await self._settled(tails), 0
                    placed = await self._placed(events, tails)
                if events:
                    read = events[-1].position
                    sending.append(asyncio.create_task(self._publish(placed, read)))
                # While whole pages come, the next are read and encoded before the topic has acknowledged the last.
                while len(sending) > (AHEAD if whole else 0):
                    # Not awaited itself: who cancels us would cancel it alone, and the next would still be sent.
                    await asyncio.wait({sending[0]})
                    self.position = sending.popleft().result()
                if not events:
                    if self.head > self.position:
                        # Whoever may connect to the database may tell us of a head that is not there.
                        await asyncio.sleep(GATHER_SECONDS)
                    self.head = await self._store.wait_beyond(self.position, WAIT_SECONDS)
                elif len(events) > 1 and not whole:
                    # Under load, fewer and larger requests cost the broker and all its readers less.
                    await asyncio.sleep(began + GATHER_SECONDS - monotonic())
        finally:
            begun = [*sending, *([reading] if reading is not None else ())]
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    async def _begins(self, tails: Sequence[int]) -> int:
        """The position after which to read: what was taken out of the database is passed over if the topic has it all.

        Where it lacks some of it, reading says what must be brought back.
        """
        after = min(tails)
        while ends := await self._store.detached_ends(after=after, limit=ENDS_PAGE):
            if any(end.position > tails[self._partition(end.stream)] for end in ends):
                return min(tails)
            after = ends[-1].position
        return after

    def _partition(self, stream: str) -> int:
        return partition_of(stream.encode(), self._topic.partitions)

    async def _settled(self, tails: Sequence[int]) -> Sequence[int]:
        """The tails when they stand still."""
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            later = await self._topic.tails(self._genuine)
            if list(later) == list(tails):
                return tails
            tails = later

    async def _page(self, after: int, size: int) -> Sequence[RecordedEvent]:
        return await self._store.read_log(after=after, limit=size)

    async def _publish(self, placed: Sequence[Placed], position: int) -> int:
        """Returns the position when all up to it is acknowledged, if all before these was."""
        self.head = max(self.head, position)
        self._publishing += 1
        self._publishing_since = self._publishing_since or monotonic()
        try:
            await self._topic.publish(placed)
        finally:
            self._publishing -= 1
            self._publishing_since = monotonic() if self._publishing else None
        self._failures = 0
        return position

    async def _placed(self, events: Sequence[RecordedEvent], tails: Sequence[int]) -> list[Placed]:
        """The records of those events that their partition does not have."""
        placed: list[Placed] = []
        for number, event in enumerate(events, 1):
            partition = self._partition(event.stream)
            if event.position > tails[partition]:
                placed.append((partition, encode(event, self._source)))
            if number % ENCODED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return placed

    async def _genuine(self, event: RecordedEvent) -> bool:
        """Whether the store has this event: a foreign record must not make us skip anything."""
        try:
            stored = await self._store.read_log(after=event.position - 1, limit=1)
        except EventsDetached:
            # The last record of a partition is the last event of its stream; more is not kept of what was taken out.
            ends = await self._store.detached_ends(after=event.position - 1, limit=1)
            return list(ends) == [(event.stream, event.position)]
        return bool(stored) and (stored[0].position, stored[0].id) == (event.position, event.id)


def next_size(events: Sequence[RecordedEvent]) -> int:
    """How many events follow a whole page: Kafka takes few large requests at half the price, within bounds."""
    average = sum(len(event.data) for event in events) // len(events)
    return max(1, min(2 * len(events), PAGE, PAGE_BYTES // (average + 1)))


def contiguous(after: int, events: Sequence[RecordedEvent]) -> None:
    """Positions count without a gap, so what was read can prove that nothing was missed. Raises `LogBroken`."""
    for expected, event in enumerate(events, after + 1):
        if event.position != expected:
            raise LogBroken(f"the log has position {event.position} where {expected} must stand")
