"""Since which event a row is wrong, and what became of that event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domains.kernel import Domain, Row
from eventstore.records import BareEvent
from projections.errors import RebuildFailed
from projections.refolding.effects import guarded
from projections.refolding.refold import Refold, facts, failed
from projections.rows import AnyView

LEFT_OUT, FOLDED_TWICE = "left out", "folded twice"
# What is tried grows with the square of a row's events: so many of one row, so many bytes and folds of all together.
EVENTS = 200
BYTES = 64 * 1024 * 1024
FOLDS = 60_000
Step = tuple[BareEvent, Any]


@dataclass(frozen=True, slots=True)
class Since:
    """Up to the event before `position` a row is right. `how` that one event explains the row; None: the row is as it
    was before it, whatever came later.
    """

    position: int
    how: str | None = None


@dataclass(slots=True)
class Trace:
    """A row of the table beside the fold of its events; `steps` are these, or None when they are too many to try."""

    live: Row | None
    row: Row | None = None
    since: int | None = None
    steps: list[Step] | None = field(default_factory=list)
    right: bool = field(init=False)

    def __post_init__(self) -> None:
        self.right = self.live is None

    def fold(self, view: AnyView, event: BareEvent, fact: Any) -> None:
        self.row = view.project(self.row, fact)
        if self.row == self.live:
            self.right, self.since = True, None
        elif self.right:
            self.right, self.since = False, event.position

    def keep(self, event: BareEvent, fact: Any, *, room: bool) -> None:
        if self.steps is not None and room and len(self.steps) < EVENTS:
            self.steps.append((event, fact))
        else:
            self.steps = None

    @property
    def folds(self) -> int:
        """How many it takes at most to try every event."""
        return 0 if self.steps is None else len(self.steps) * (len(self.steps) + 2)

    def explained(self, view: AnyView) -> Since | None:
        """The first event that makes the row when it alone is left out or folded twice."""
        before: Row | None = None
        steps = self.steps or []
        for number, step in enumerate(steps):
            rest = steps[number + 1 :]
            for how, tried in ((LEFT_OUT, rest), (FOLDED_TWICE, [step, step, *rest])):
                if self.comes_of(view, before, tried):
                    return Since(step[0].position, how)
            before = folded(view, before, [step])
        return None

    def comes_of(self, view: AnyView, before: Row | None, steps: Sequence[Step]) -> bool:
        try:
            return folded(view, before, steps) == self.live
        except RebuildFailed:
            return False  # what never happened may be nothing that the view can fold


async def since(domain: Domain, view: AnyView, refold: Refold, live: Mapping[str, Row | None]) -> dict[str, Since]:
    """Since when each of these rows is wrong; those of which nobody can tell are not in the answer.

    Raises what a fold raises.
    """
    view, room = guarded(view, domain), BYTES
    traces = {key: Trace(row) for key, row in live.items()}
    async for page in refold.pages():
        for event, key, fact in facts(domain, view, page, live.__contains__):
            room -= len(event.data)
            traces[key].fold(view, event, fact)
            traces[key].keep(event, fact, room=room >= 0)
    found = {key: Since(trace.since) for key, trace in traces.items() if trace.since is not None}
    folds = FOLDS
    # The shortest first, so that a long one costs no more than its own answer.
    for key, trace in sorted(traces.items(), key=lambda one: one[1].folds):
        if key in found or (folds := folds - trace.folds) < 0:
            continue
        if (explained := trace.explained(view)) is not None:
            found[key] = explained
    return found


def folded(view: AnyView, row: Row | None, steps: Sequence[Step]) -> Row | None:
    """Raises `RebuildFailed`."""
    for event, fact in steps:
        try:
            row = view.project(row, fact)
        except Exception as error:
            raise failed(view, event, error) from error
    return row
