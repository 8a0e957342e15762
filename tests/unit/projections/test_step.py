"""Batches of a lane or of the store, and a page folded anew, take one step: the same rows, refusals and errors."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domains.codec import decode
from domains.errors import UnreadableEvent
from domains.kernel import Decider, Domain, Event, Row, View
from eventstore.records import Metadata, RecordedEvent
from projections.errors import EffectRefused, RebuildFailed
from projections.placed import Placed
from projections.projector import Projector
from projections.refolding.effects import guarded
from projections.refolding.refold import fold
from projections.rows import MemoryDatabase
from projections.step import LONGEST_KEY

AT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


class Told(Event):
    tally: str
    what: str


class Tally(Row):
    tally: str
    says: tuple[str, ...] = ()


class Another(Row):
    tally: str


def key_of(event):
    match event.what:
        case "no key":
            raise KeyError(event.tally)
        case "a number":
            return 7
        case "unused":
            return None
        case "reaches for its key":
            Path("/dev/null").write_text("x")
    return event.tally


def project(row, event):
    match event.what:
        case "poison":
            raise ValueError("no")
        case "gone":
            return None
        case "another kind":
            return Another(tally=event.tally)
        case "another key":
            return Tally(tally="another")
        case "no row":
            return event.what
        case "reaches":
            Path("/dev/null").write_text("x")
    return Tally(tally=event.tally, says=(*(row.says if row else ()), event.what))


VIEW = View("tallies", Tally, "tally", key_of, project)
DOMAIN = Domain(
    "tally", "tally", {}, {"tally.Told.v1": Told}, Decider(None, lambda state, _: state, lambda *_: ()), (VIEW,)
)
GOOD = ["one", "two", "gone", "unused"]
BAD = ["poison", "no key", "a number", "another kind", "another key", "no row", "unreadable"]
REACHING = ["reaches", "reaches for its key"]
KEYS = ["a", "b", "ä" * (LONGEST_KEY // 2), "ä" * (LONGEST_KEY // 2 + 1), "x" * (LONGEST_KEY + 1), "\x00", ""]
told = st.tuples(st.sampled_from([*GOOD * 3, *BAD]), st.sampled_from(["a", "b"] * 4 + KEYS))


def recorded(position, what, key):
    data = b"{}" if what == "unreadable" else Told(occurred_at=AT, tally=key, what=what).model_dump_json().encode()
    # Each event has a stream of its own, so that one whose key can't be told holds up no other.
    return RecordedEvent(
        position, f"tally-{position}", 1, UUID(int=position), "tally.Told.v1", AT, AT, data, Metadata()
    )


def placed(event):
    try:
        return Placed.of(0, event.position, event, decode(DOMAIN, event))
    except UnreadableEvent as error:
        return Placed.of(0, event.position, event, error)


async def applied(events, size, view=VIEW):
    """What the core makes of them: its rows, and of the first that failed the position and why."""
    database, failed = MemoryDatabase(1), {}
    projector = Projector((view,), database)
    for first in range(0, len(events), size):
        done = await projector.apply([placed(event) for event in events[first : first + size]])
        failed |= {one.event.position: one.error for one in done.parked.get(view.name, ()) if one.error is not None}
    return database.rows.get(view.name, {}), min(failed.items(), default=None)


def folded(events):
    """The same of a page that is folded anew."""
    rows = {}
    try:
        fold(DOMAIN, VIEW, events, rows)
    except UnreadableEvent as error:
        return rows, (int(error.stream.removeprefix("tally-")), str(error))
    except RebuildFailed as error:
        return rows, (error.event.position, error.why)
    return rows, None


@given(st.lists(told, max_size=25), st.integers(1, 9))
async def test_both_ways_give_the_same_rows_and_fail_on_the_same_event_for_the_same_reason(told, size):
    events = [recorded(position, *one) for position, one in enumerate(told, 1)]
    while True:
        rows, failed = folded(events)
        lane, parked = await applied(events, size)
        if failed is None:
            assert (rows, None) == (lane, parked)
            return
        position, why = failed
        assert parked is not None
        assert (parked[0], parked[1].endswith(why)) == (position, True)
        # The page was folded up to there, and so far a lane has the same rows.
        before = [event for event in events if event.position < position]
        assert rows == (await applied(before, size))[0]
        events = [event for event in events if event.position != position]


@given(st.sampled_from(REACHING), st.integers(0, 3))
async def test_both_ways_name_the_effect_that_a_view_reached_for(what, before):
    events = [recorded(position, "one", "a") for position in range(1, before + 1)]
    events.append(recorded(before + 1, what, "a"))
    rows = {}
    try:
        fold(DOMAIN, VIEW, events, rows)
    except EffectRefused as error:
        named = error
    assert (named.event.position, "'/dev/null'" in str(named)) == (before + 1, True)
    lane, (position, why) = await applied(events, 2, guarded(VIEW))
    assert (lane, position, "'/dev/null'" in why) == (rows, before + 1, True)
