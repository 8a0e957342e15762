"""The port of what is parked, and its twin in memory: events that wait in spots, in order, aside from the rows."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from eventstore.records import RecordedEvent

LONGEST_ERROR = 1000


class Spot(NamedTuple):
    """A queue of one view: of a key, or of a whole stream where a key can't be told."""

    name: str
    of_stream: bool = False


class EventPlace(NamedTuple):
    """Where an event stands: what only has the position of another stream's event is not that event."""

    position: int
    stream: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event for a spot. `error` is why it fails; None: it only waits behind another."""

    spot: Spot
    event: RecordedEvent
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Parked:
    """A spot with the event that failed last and why, how often it was tried, and how many events it holds.

    Without an error, what it holds has not been tried since it came here.
    """

    spot: Spot
    position: int | None
    stream: str | None
    version: int | None
    type: str | None
    error: str | None
    first_at: datetime
    attempts: int
    events: int


@dataclass(frozen=True, slots=True)
class Skip:
    """An event that a person took out of a view for good: who, when and why, and what had failed."""

    spot: Spot
    event: RecordedEvent
    error: str
    who: str
    why: str
    at: datetime


class Parking(Protocol):
    """The spots of one view, within a transaction of the read database."""

    async def park(self, waiting: Sequence[Waiting]) -> None:
        """Queues events by position. An error parks its spot; an event without one parks it too, untried."""

    async def parked(self, spot: Spot) -> Parked | None:
        """A spot, which nobody else may change until the end of the transaction; None: it is not parked."""

    async def queue(self, spot: Spot, most: int) -> list[RecordedEvent]:
        """What a spot holds, in order, and of that so many at most."""

    async def drop(self, spot: Spot, positions: Collection[int]) -> None:
        """Takes events out of a spot."""

    async def failed(self, waiting: Waiting) -> None:
        """Notes that a spot was tried once more, and at which event it failed."""

    async def free(self, spot: Spot) -> None:
        """Ends a spot with all that it holds."""

    async def skip(self, skip: Skip) -> None:
        """Records for good that an event was taken out."""

    async def spots(self) -> list[Parked]:
        """Every spot, in the order of names."""

    async def skips(self) -> list[Skip]:
        """What was taken out, in the order in which it was."""

    async def clear(self) -> None:
        """Ends every spot: the view was folded anew."""


def readable(error: str) -> str:
    """An error as any table can hold it."""
    return error.encode(errors="backslashreplace").decode().replace("\x00", "\\x00")[:LONGEST_ERROR]


@dataclass(slots=True)
class Lot:
    """What is parked of one view, in memory."""

    spots: dict[Spot, Parked] = field(default_factory=dict)
    queues: dict[Spot, dict[int, RecordedEvent]] = field(default_factory=dict)
    skips: list[Skip] = field(default_factory=list)

    def copy(self) -> "Lot":
        return Lot(dict(self.spots), {spot: dict(queue) for spot, queue in self.queues.items()}, list(self.skips))

    def held(self, keys: Collection[str], streams: Collection[str]) -> set[Spot]:
        return {spot for spot in self.spots if spot.name in (streams if spot.of_stream else keys)}


class MemoryParking:
    def __init__(self, lot: Lot) -> None:
        self._lot = lot

    async def park(self, waiting: Sequence[Waiting]) -> None:
        for one in waiting:
            if one.spot not in self._lot.spots:
                self._lot.spots[one.spot] = begun(one)
            self._lot.queues.setdefault(one.spot, {}).setdefault(one.event.position, one.event)

    async def parked(self, spot: Spot) -> Parked | None:
        found = self._lot.spots.get(spot)
        return found and replace(found, events=len(self._lot.queues.get(spot, {})))

    async def queue(self, spot: Spot, most: int) -> list[RecordedEvent]:
        return [event for _, event in sorted(self._lot.queues.get(spot, {}).items())][:most]

    async def drop(self, spot: Spot, positions: Collection[int]) -> None:
        for position in positions:
            self._lot.queues[spot].pop(position, None)

    async def failed(self, waiting: Waiting) -> None:
        tried, first = begun(waiting), self._lot.spots[waiting.spot]
        self._lot.spots[waiting.spot] = replace(tried, first_at=first.first_at, attempts=first.attempts + 1)

    async def free(self, spot: Spot) -> None:
        self._lot.spots.pop(spot, None)
        self._lot.queues.pop(spot, None)

    async def skip(self, skip: Skip) -> None:
        self._lot.skips.append(skip)

    async def spots(self) -> list[Parked]:
        found = [await self.parked(spot) for spot in sorted(self._lot.spots)]
        return [one for one in found if one is not None]

    async def skips(self) -> list[Skip]:
        return list(self._lot.skips)

    async def clear(self) -> None:
        self._lot.spots.clear()
        self._lot.queues.clear()


def begun(waiting: Waiting) -> Parked:
    """A spot whose first event this is."""
    event, error, at = waiting.event, waiting.error, datetime.now(UTC)
    if error is None:
        return Parked(waiting.spot, None, None, None, None, None, at, 0, 0)
    return Parked(waiting.spot, event.position, event.stream, event.version, event.type, readable(error), at, 1, 0)
