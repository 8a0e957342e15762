"""The ports of the data keys, their twin in memory, and what keeps opened keys for a moment."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from eventstore.errors import KeyMissing
from eventstore.limits import FIELD_LENGTH, check_text
from eventstore.personal.sealing import NOBODY, DataKey

K = TypeVar("K")
V = TypeVar("V")

# So long a process may go on with a key that was destroyed meanwhile.
REMEMBERED_SECONDS = 2.0
REMEMBERED_KEYS = 10_000


class Keys(Protocol):
    """What sealing and opening need. Raises `StoreUnavailable` when the keys can't be reached."""

    async def current(self, subject: str) -> DataKey:
        """The subject's key, made when he has none. A subject who was forgotten and comes again gets a new one."""

    async def find(self, ids: Collection[UUID]) -> Mapping[UUID, DataKey | None]:
        """Each key; None: its subject was forgotten. Raises `KeyMissing` for one that is not there and should be."""


class Keeper(Protocol):
    """What forgetting needs: first a subject's keys are marked, at last their bytes are destroyed."""

    async def forget(self, subject: str, by: str, why: str) -> None:
        """From now on nobody is given the subject's key; marked keys keep the mark that they have."""

    async def marked(self, subject: str) -> list["Tombstone"]:
        """The subject's forgotten keys, oldest first."""

    async def unlocked(self, subject: str) -> list[DataKey]:
        """The subject's keys that are forgotten, but not destroyed."""

    async def destroy(self, subject: str, searched: Mapping[str, Any]) -> None:
        """Destroys the subject's forgotten keys, and records what was searched."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is left of a key: `searched` is where its texts were looked for before it was destroyed."""

    key: UUID
    forgotten_at: datetime
    forgotten_by: str
    why: str
    destroyed_at: datetime | None = None
    searched: Mapping[str, Any] | None = None


class MemoryKeys:
    """The twin for tests and examples; both ports."""

    def __init__(self) -> None:
        self._keys: dict[UUID, DataKey | None] = {}
        self._subjects: dict[UUID, str] = {}
        self._tombs: dict[UUID, Tombstone] = {}

    async def current(self, subject: str) -> DataKey:
        check_text("a subject", subject, FIELD_LENGTH)
        for id, key in self._keys.items():
            if self._subjects[id] == subject and id not in self._tombs and key is not None:
                return key
        made = DataKey.generate()
        self._keys[made.id], self._subjects[made.id] = made, subject
        return made

    async def find(self, ids: Collection[UUID]) -> Mapping[UUID, DataKey | None]:
        return {id: None if id in self._tombs or id == NOBODY else there(id, self._keys) for id in ids}

    async def forget(self, subject: str, by: str, why: str) -> None:
        for id in self._of(subject):
            self._tombs.setdefault(id, Tombstone(id, datetime.now(UTC), by, why))

    async def marked(self, subject: str) -> list[Tombstone]:
        return [self._tombs[id] for id in self._of(subject) if id in self._tombs]

    async def unlocked(self, subject: str) -> list[DataKey]:
        return [key for id in self._of(subject) if id in self._tombs and (key := self._keys[id]) is not None]

    async def destroy(self, subject: str, searched: Mapping[str, Any]) -> None:
        for key in await self.unlocked(subject):
            self._keys[key.id] = None
            self._tombs[key.id] = replace(self._tombs[key.id], destroyed_at=datetime.now(UTC), searched=searched)

    def _of(self, subject: str) -> list[UUID]:
        return [id for id, known in self._subjects.items() if known == subject]


def there(id: UUID, keys: Mapping[UUID, V]) -> V:
    if id not in keys:
        raise KeyMissing(f"the data key {id} is missing, and was not destroyed")
    return keys[id]


class RememberedKeys:
    """Keeps opened keys for `REMEMBERED_SECONDS`, so that not every text costs a query."""

    def __init__(self, keys: Keys, clock: Callable[[], float] = monotonic) -> None:
        self._keys, self._clock = keys, clock
        self._current = Remembered[str, DataKey](clock)
        self._found = Remembered[UUID, DataKey | None](clock)

    async def current(self, subject: str) -> DataKey:
        known = self._current.get([subject])
        if not known:
            asked, known = self._clock(), {subject: await self._keys.current(subject)}
            self._current.put(known, asked)
        return known[subject]

    async def find(self, ids: Collection[UUID]) -> Mapping[UUID, DataKey | None]:
        known = self._found.get(ids)
        if unknown := set(ids) - known.keys():
            asked, found = self._clock(), await self._keys.find(unknown)
            self._found.put(found, asked)
            known = {**known, **found}
        return known


class Remembered(Generic[K, V]):
    """What was looked up in the last moments, the newest so many."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def get(self, wanted: Collection[K]) -> dict[K, V]:
        now = self._clock()
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            self._kept.popitem(last=False)
        return {key: self._kept[key][1] for key in wanted if key in self._kept}

    def put(self, found: Mapping[K, V], asked: float) -> None:
        """`asked` is when it was looked up: what is told later may be older than that."""
        until = asked + REMEMBERED_SECONDS
        for key, value in found.items():
            self._kept[key] = until, value
            self._kept.move_to_end(key)
        while len(self._kept) > REMEMBERED_KEYS:
            self._kept.popitem(last=False)
