"""Batches of the lanes and of the store, and pages folded anew, take one step: the same rows, refusals and errors."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domains.errors import UnreadableEvent
from domains.kernel import Decider, Domain, Event, Row, View
from eventstore.cloudevents import encode
from eventstore.records import Metadata, RecordedEvent
from infra.partitions import partition_of
from projections.errors import EffectRefused, RebuildFailed
from projections.placed import Arrived
from projections.projector import Projector
from projections.records import judge
from projections.refolding import refold
from projections.refolding.beside import refuse
from projections.refolding.effects import guarded
from projections.refolding.refold import CatchUp, Log, fold
from projections.rows import MemoryDatabase
from projections.step import LONGEST_KEY

AT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


class Told(Event):
    number: str
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
    "tally", "number", {}, {"tally.Told.v1": Told}, Decider(None, lambda state, _: state, lambda *_: ()), (VIEW,)
)
GOOD = ["one", "two", "gone", "unused"]
BAD = ["poison", "no key", "a number", "another kind", "another key", "no row", "unreadable"]
REACHING = ["reaches", "reaches for its key"]
KEYS = ["a", "b", "ä" * (LONGEST_KEY // 2), "ä" * (LONGEST_KEY // 2 + 1), "x" * (LONGEST_KEY + 1), "\x00", ""]
told = st.tuples(st.sampled_from([*GOOD * 3, *BAD]), st.sampled_from(["a", "b"] * 4 + KEYS))


def recorded(position, what, key):
    told = Told(occurred_at=AT, number=str(position), tally=key, what=what)
    data = b"{}" if what == "unreadable" else told.model_dump_json().encode()
    # Each event has a stream of its own, so that one whose key can't be told holds up no other.
    return RecordedEvent(
        position, f"tally-{position}", 1, UUID(int=position), "tally.Told.v1", AT, AT, data, Metadata()
    )


class Store:
    """As much of one as is read of its log."""

    def __init__(self, events):
        self._events = events

    async def read_log(self, after, limit):
        return [event for event in self._events if event.position > after][:limit]


async def of_the_store(events, size):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(refold, "PAGE", size)
        bounds = dict.fromkeys(range(DOMAIN.partitions), events[-1].position if events else 0)
        return [batch.events async for batch in CatchUp(Log(DOMAIN, Store(events)), DOMAIN, bounds).batches()]


async def of_a_lane(events, size):
    """As the records of both lanes are judged, by the worker."""
    judged = []
    for event in events:
        record, place = encode(event, "/tally"), partition_of(event.stream.encode(), DOMAIN.partitions)
        came = Arrived(DOMAIN.events_topic, place, event.position, record.key, record.value, list(record.headers))
        judged.append(judge(DOMAIN, came))
    return [judged[first : first + size] for first in range(0, len(judged), size)]


async def applied(batches, view=VIEW):
    """What the core makes of them: its rows, and of the first that failed the position and why."""
    database, failed = MemoryDatabase(DOMAIN.partitions), {}
    projector = Projector((view,), database)
    for batch in batches:
        done = await projector.apply(batch)
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


FORMS = [of_a_lane, of_the_store]


@given(st.lists(told, max_size=25), st.integers(1, 9), st.sampled_from(FORMS))
async def test_all_forms_give_the_same_rows_and_fail_on_the_same_event_for_the_same_reason(told, size, form):
    events = [recorded(position, *one) for position, one in enumerate(told, 1)]
    while True:
        rows, failed = folded(events)
        batched, parked = await applied(await form(events, size))
        if failed is None:
            assert (rows, None) == (batched, parked)
            return
        position, why = failed
        assert parked is not None
        assert (parked[0], parked[1].endswith(why)) == (position, True)
        # The page was folded up to there, and batches have the same rows so far.
        before = [event for event in events if event.position < position]
        assert rows == (await applied(await form(before, size)))[0]
        events = [event for event in events if event.position != position]


@pytest.mark.parametrize("what", [bad for bad in BAD if bad != "unreadable"])
@pytest.mark.parametrize("form", FORMS)
async def test_a_catch_up_says_what_a_first_pass_says(what, form):
    events = [recorded(1, what, "a")]
    with pytest.raises(RebuildFailed) as first:
        fold(DOMAIN, VIEW, events, {})
    [batch] = await form(events, 1)
    with pytest.raises(RebuildFailed) as later:
        refuse(VIEW, await Projector((VIEW,), MemoryDatabase(DOMAIN.partitions)).apply(batch))
    assert str(later.value) == str(first.value)


@given(st.sampled_from(REACHING), st.integers(0, 3), st.sampled_from(FORMS))
async def test_all_forms_name_the_effect_that_a_view_reached_for(what, before, form):
    events = [recorded(position, "one", "a") for position in range(1, before + 1)]
    events.append(recorded(before + 1, what, "a"))
    rows = {}
    with pytest.raises(EffectRefused, match="'/dev/null'") as refused:
        fold(DOMAIN, VIEW, events, rows)
    assert refused.value.event.position == before + 1
    batched, (position, why) = await applied(await form(events, 2), guarded(VIEW))
    assert (batched, position, "'/dev/null'" in why) == (rows, before + 1, True)
