"""The port that batches of events come by: the lane of faust, the direct lane, and the store."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from projections.placed import Placed
from projections.records import DeadLetter

Done = Callable[[], None]


def unheard() -> None:
    """For sources that need no acknowledgement."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events in the order of their partitions, and the records among them that are none.

    `done` is called when all of it is committed, and published where rows are: only then may it be acknowledged.
    """

    events: Sequence[Placed]
    strangers: Sequence[DeadLetter] = ()
    done: Done = unheard

    def __len__(self) -> int:
        return len(self.events) + len(self.strangers)


class Source(Protocol):
    """What batches come from. Who asks for the next has committed the last; what was not acknowledged comes again."""

    def batches(self) -> AsyncIterator[Batch]: ...
