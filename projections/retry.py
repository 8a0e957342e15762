"""Folds what is parked, with today's code; or takes the event that fails out for good."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from domains.errors import UnreadableEvent
from domains.kernel import Domain
from eventstore.errors import RecordError
from eventstore.records import RecordedEvent
from infra.partitions import partition_of
from projections.errors import NotParked
from projections.folding import Folded, save_each_row, touched_by
from projections.parking import Parked, Parking, Skip, Spot, Waiting
from projections.placed import Placed
from projections.publish import Publisher
from projections.records import read
from projections.rows import AnyView, ReadDatabase, Transaction, to_publish

NO_OFFSET = -1
PAGE = 1000  # events of a spot that are folded in one transaction: meanwhile nothing else is


@dataclass(frozen=True, slots=True)
class Retried:
    """How many events went on, and what is left: None, and the spot has ended."""

    events: int
    left: Parked | None


class Retry:
    """Works on the spots of one domain's views. The worker may go on meanwhile: whoever comes second waits.

    A spot ends only when it is empty and its row published, so that a crash on the way leaves it parked, to be retried.
    """

    def __init__(self, domain: Domain, database: ReadDatabase, publisher: Publisher) -> None:
        self._domain, self._database, self._publisher = domain, database, publisher

    async def retry(self, view: AnyView, spot: Spot) -> Retried:
        """Folds a spot in order, up to the first event that still fails. Raises `NotParked` and `ReadUnavailable`."""
        events = 0
        while True:
            count, failed = await (self._hand_on(view, spot) if spot.of_stream else self._fold(view, spot))
            events += count
            left = await self._end(view, spot)
            if left is None or failed:
                return Retried(events, left)

    async def skip(
        self, view: AnyView, spot: Spot, who: str, why: str, position: int | None = None
    ) -> tuple[RecordedEvent, Retried]:
        """Takes out the event that failed, recorded with who did it and why, and retries the rest.

        Who names its `position` takes out no other. Raises `NotParked` and `ReadUnavailable`.
        """
        async with self._transaction(view) as transaction:
            parking = transaction.parking(view)
            parked = await locked(parking, view, spot)
            event = next((event for event in await parking.queue(spot, 1) if event.position == parked.position), None)
            if event is None or parked.error is None:
                raise NotParked(f"nothing has failed at {spot.name} of {view.name} since it was tried last")
            if position not in (None, event.position):
                raise NotParked(f"what fails at {spot.name} of {view.name} is event {event.position}, not {position}")
            await parking.skip(Skip(spot, event, parked.error, who, why, datetime.now(UTC)))
            await parking.drop(spot, [event.position])
        return event, await self.retry(view, spot)

    async def _fold(self, view: AnyView, spot: Spot) -> tuple[int, bool]:
        """Folds the events of a key as far as they go: how many did, and whether one failed."""
        async with self._transaction(view) as transaction:
            parking = transaction.parking(view)
            await locked(parking, view, spot)
            folded = Folded([self._placed(event) for event in await parking.queue(spot, PAGE)])
            folded.fold(view, spot.name, (await transaction.load(view, [spot.name])).get(spot.name))
            await save_each_row(transaction, view, {spot.name: folded})
            await transaction.touch()
            return await settle(parking, spot, folded.events[: len(folded.rows)], folded.waiting(spot)[:1])

    async def _hand_on(self, view: AnyView, spot: Spot) -> tuple[int, bool]:
        """Hands the events of a stream on to the spots of their keys, which are then retried.

        The stream stays parked meanwhile, so that none of its later events overtakes.
        """
        async with self._transaction(view) as transaction:
            parking = transaction.parking(view)
            await locked(parking, view, spot)
            handed, waiting, failed = list[Placed](), list[Waiting](), list[Waiting]()
            for placed in map(self._placed, await parking.queue(spot, PAGE)):
                touched = touched_by(view, placed)
                key, error = touched or (None, None)
                if error is not None:
                    failed = [Waiting(spot, placed.recorded, error)]
                    break
                handed.append(placed)
                if key is not None:
                    waiting.append(Waiting(Spot(key), placed.recorded))
            await parking.park(waiting)
            done = await settle(parking, spot, handed, failed)
        for own in dict.fromkeys(one.spot for one in waiting):
            with suppress(NotParked):  # somebody else has ended it meanwhile
                await self.retry(view, own)
        return done

    async def _end(self, view: AnyView, spot: Spot) -> Parked | None:
        """Publishes the row of a key, which nobody can change now, and ends the spot if nothing has come to it."""
        async with self._transaction(view) as transaction:
            parking = transaction.parking(view)
            parked = await locked(parking, view, spot)
            if not spot.of_stream:
                held = await transaction.load(view, [spot.name])
                await self._publisher.rows((view, to_publish(held, [spot.name])))
            if parked.events:
                return parked
            await parking.free(spot)
            return None

    @asynccontextmanager
    async def _transaction(self, view: AnyView) -> AsyncIterator[Transaction]:
        async with self._database.transaction() as transaction:
            if view.shared:
                await transaction.lock(view)
            yield transaction

    def _placed(self, event: RecordedEvent) -> Placed:
        partition = partition_of(event.stream.encode(), self._domain.partitions)
        try:
            return Placed.of(partition, NO_OFFSET, event, read(self._domain, event))
        except RecordError as error:
            unreadable = UnreadableEvent(event.stream, event.version, str(error))
            return Placed.of(partition, NO_OFFSET, event, unreadable)


async def locked(parking: Parking, view: AnyView, spot: Spot) -> Parked:
    if (parked := await parking.parked(spot)) is None:
        raise NotParked(f"{spot.name} of {view.name} is not parked")
    return parked


async def settle(parking: Parking, spot: Spot, done: list[Placed], failed: list[Waiting]) -> tuple[int, bool]:
    """Takes out what is done, and notes what failed."""
    await parking.drop(spot, [placed.position for placed in done])
    for waiting in failed:
        await parking.failed(waiting)
    return len(done), bool(failed)
