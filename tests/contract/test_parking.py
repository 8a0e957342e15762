"""A failing event parks its key, and no other waits; kept by the read database in memory and the one on PostgreSQL."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from uuid import UUID

import pytest
from msgspec import structs
from psycopg.errors import InsufficientPrivilege

from domains.kernel import Decider, Domain, Event, Row, Upcaster, View
from eventstore.migrate import connect
from eventstore.records import Metadata, RecordedEvent
from infra.partitions import partition_of
from projections.errors import NotParked, ReadUnavailable
from projections.migrate import migrate
from projections.parking import Spot
from projections.placed import Placed
from projections.postgres import PostgresDatabase
from projections.projector import Projector
from projections.records import read
from projections.retry import Retry
from projections.rows import MemoryDatabase

AT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
POISON = 13


class Counted(Event):
    counter: str
    amount: int
    group: str | None = "all"


class Total(Row):
    counter: str
    total: int
    note: str = ""


class GroupTotal(Row):
    group: str
    total: int


def total(row, event):
    if event.amount == POISON:
        raise ZeroDivisionError("a poisoned amount")
    return Total(counter=event.counter, total=(row.total if row else 0) + event.amount)


def healed(row, event):
    return Total(counter=event.counter, total=(row.total if row else 0) + event.amount)


def group_total(row, event):
    return GroupTotal(group=event.group, total=(row.total if row else 0) + event.amount)


def counting(project=total, *, events=("orders.Counted.v1",), upcasters=()):
    """A domain with the name whose roles the read database of the tests has."""
    return Domain(
        name="orders",
        identity="counter",
        commands={},
        events=dict.fromkeys(events, Counted),
        decider=Decider(None, lambda state, _: state, lambda *_: ()),
        views=(
            View("totals", Total, "counter", lambda event: event.counter, project),
            View("groups", GroupTotal, "group", lambda event: event.group, group_total, shared=True),
        ),
        upcasters=upcasters,
    )


DOMAIN, HEALED = counting(), counting(healed)
TOTALS, GROUPS = DOMAIN.views
ONLY_TOTALS = replace(DOMAIN, views=(TOTALS,))


@pytest.fixture(params=["memory", "postgres"])
async def database(request):
    if request.param == "memory":
        yield MemoryDatabase(DOMAIN.partitions)
        return
    owner, reader = request.getfixturevalue("read_database")
    with connect(owner, 30) as connection:
        migrate(connection, DOMAIN)
    database = PostgresDatabase(reader, DOMAIN)
    yield database
    await database.close()


class Published:
    """Remembers the newest row of each key."""

    def __init__(self):
        self.newest = {}

    async def rows(self, *changed):
        self.newest |= {(view.name, key): row for view, rows in changed for key, row in rows.items()}

    async def dead(self, letters):
        assert not letters


class Versions:
    """Makes events as the store would record them."""

    def __init__(self):
        self.position, self.versions = 0, {}

    def event(self, counter, amount=1, *, domain=DOMAIN, type="orders.Counted.v1", **more):
        self.position += 1
        stream = f"orders-{counter}"
        self.versions[stream] = self.versions.get(stream, 0) + 1
        data = json.dumps({"occurred_at": AT.isoformat(), "counter": counter, "amount": amount, **more}).encode()
        recorded = RecordedEvent(
            self.position, stream, self.versions[stream], UUID(int=self.position), type, AT, AT, data, Metadata()
        )
        return placed(recorded, domain)


def placed(recorded, domain):
    partition = partition_of(recorded.stream.encode(), domain.partitions)
    return Placed.of(partition, recorded.position, recorded, read(domain, recorded))


@pytest.fixture
def made():
    return Versions().event


async def spots(database, view=TOTALS):
    async with database.transaction() as transaction:
        return await transaction.parking(view).spots()


async def rows(database, view, keys):
    async with database.transaction() as transaction:
        return await transaction.load(view, keys)


async def totals(database, *keys):
    return {key: row.total for key, row in (await rows(database, TOTALS, keys)).items()}


async def retried(domain, database, spot, view="totals", publisher=None):
    return await Retry(domain, database, publisher or Published()).retry(domain.view(view), spot)


async def test_one_poisoned_event_among_many_keys_holds_up_no_other_and_ends_as_if_it_had_never_failed(database, made):
    random = Random(6)
    keys = [f"k{number}" for number in range(1000)]
    events = [made(random.choice(keys), random.randint(1, 9)) for _ in range(1500)]
    events[700:700] = [made("k500", POISON)]
    events = [placed(structs.replace(each.recorded, position=number), DOMAIN) for number, each in enumerate(events, 1)]
    plain = MemoryDatabase(DOMAIN.partitions)
    healed, projector = Projector(HEALED.views, plain), Projector(DOMAIN.views, database)
    for start in range(0, len(events), 400):
        for each in (healed, projector):
            await each.apply(events[start : start + 400])
        # No other key is seen later than if nothing had failed.
        now = await rows(database, TOTALS, keys)
        assert {key for key in keys if now.get(key) != plain.rows["totals"].get(key)} <= {"k500"}
    marks = await projector.marks()
    assert max(mark.position for mark in marks.values()) == len(events)
    held = await rows(database, TOTALS, keys)
    expected = plain.rows["totals"]
    assert {key for key in keys if held.get(key) != expected.get(key)} == {"k500"}
    assert await rows(database, GROUPS, ["all"]) == plain.rows["groups"]

    behind = [each for each in events[700:] if each.stream == "orders-k500"]
    (parked,) = await spots(database)
    assert (parked.spot, parked.position, parked.events) == (Spot("k500"), 701, len(behind))
    assert "ZeroDivisionError: a poisoned amount" in parked.error

    published = Published()
    done = await retried(HEALED, database, Spot("k500"), publisher=published)
    assert (done.events, done.left) == (len(behind), None)
    assert await rows(database, TOTALS, keys) == expected
    assert published.newest == {("totals", "k500"): expected["k500"]}
    assert await spots(database) == []


async def test_what_comes_later_or_again_waits_behind_and_once_only(database, made):
    projector = Projector(DOMAIN.views, database)
    first, poison, behind, other = made("a", 5), made("a", POISON), made("a", 2), made("b", 1)
    await projector.apply([first, poison])
    await projector.apply([behind, other])
    await projector.apply([first, poison, behind, other])
    assert await totals(database, "a", "b") == {"a": 5, "b": 1}
    assert [parked.events for parked in await spots(database)] == [2]
    await retried(HEALED, database, Spot("a"))
    await projector.apply([made("a", 1)])
    assert await totals(database, "a") == {"a": 5 + POISON + 2 + 1}


async def test_a_retry_that_fails_again_stays_at_the_event_that_fails_and_is_counted(database, made):
    await Projector(DOMAIN.views, database).apply([made("a", POISON), made("a", 1)])
    published = Published()
    done = await retried(DOMAIN, database, Spot("a"), publisher=published)
    assert (done.events, done.left.attempts, done.left.events) == (0, 2, 2)
    partly = counting(lambda row, event: healed(row, event) if event.amount > 1 else 1 / 0)
    done = await retried(partly, database, Spot("a"), publisher=published)
    assert (done.events, done.left.attempts, done.left.events, done.left.position) == (1, 3, 1, 2)
    assert published.newest[("totals", "a")].total == POISON


async def test_a_row_that_its_table_can_t_hold_parks_its_key_at_the_event_that_made_it(database, made):
    events = [made("a", 1), made("b", 1), made("a", 2**62), made("a", 2**62), made("a", 5), made("b", 3)]
    await Projector(ONLY_TOTALS.views, database).apply(events)
    assert await totals(database, "a", "b") == {"a": 1 + 2**62, "b": 4}
    (parked,) = await spots(database)
    assert (parked.spot, parked.position, parked.events) == (Spot("a"), 4, 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda counter: Total(counter=counter, total=2**63),
        lambda counter: Total(counter=counter, total=1, note="a\x00b"),
        lambda counter: Total(counter=counter, total=1, note="\ud800"),
        lambda counter: Total.model_construct(counter=counter, total=None, note=""),
        lambda _: Total(counter="another", total=1),
        lambda counter: {"counter": counter},
    ],
    ids=["too large", "NUL", "no Unicode", "nothing where something must be", "another key", "no row"],
)
async def test_whatever_a_view_makes_of_an_event_only_its_key_is_parked(database, made, make):
    bad = counting(lambda row, event: make(event.counter) if event.counter == "bad" else healed(row, event))
    await Projector(bad.views, database).apply([made("good", 1), made("bad", 1), made("good", 1), made("bad", 1)])
    assert await totals(database, "good", "bad", "another") == {"good": 2}
    (parked,) = await spots(database)
    assert (parked.spot, parked.events, parked.position) == (Spot("bad"), 2, 2)
    await retried(HEALED, database, Spot("bad"))
    assert await totals(database, "bad") == {"bad": 2}


async def test_an_event_that_this_code_can_t_read_parks_its_stream_in_every_view_until_an_upcaster_is_there(
    database, made
):
    old = made("a", 1)
    unread = made("a", 5, type="orders.Counted.v2")
    behind, other = made("a", 2), made("b", 3)
    projector = Projector(DOMAIN.views, database)
    await projector.apply([old, unread])
    await projector.apply([behind, other])
    assert await totals(database, "a", "b") == {"a": 1, "b": 3}
    for view in DOMAIN.views:
        (parked,) = await spots(database, view)
        assert (parked.spot, parked.events) == (Spot("orders-a", of_stream=True), 2)
        assert "orders.Counted.v2" in parked.error
    newer = counting(events=("orders.Counted.v2",), upcasters=(Upcaster("orders.Counted.v1", lambda data: data),))
    for view in newer.views:
        done = await retried(newer, database, Spot("orders-a", of_stream=True), view.name)
        assert (done.events, done.left) == (2, None)
        assert await spots(database, view) == []
    assert await totals(database, "a", "b") == {"a": 8, "b": 3}
    assert (await rows(database, GROUPS, ["all"]))["all"].total == 11


@pytest.mark.parametrize("key", ["a\x00b", "\udc00", "k" * 5000, 7], ids=["NUL", "no Unicode", "too long", "a number"])
async def test_an_event_whose_key_is_none_parks_its_stream_in_that_view_alone(database, made, key):
    strange = View("totals", Total, "counter", lambda event: key if event.amount == POISON else event.counter, healed)
    projector = Projector((GROUPS, strange), database)
    await projector.apply([made("a", 1), made("a", POISON), made("a", 2), made("b", 1)])
    (parked,) = await spots(database, strange)
    assert (parked.spot, parked.position, parked.events) == (Spot("orders-a", of_stream=True), 2, 2)
    assert await totals(database, "a", "b") == {"a": 1, "b": 1}
    assert not await spots(database, GROUPS)


async def test_a_shared_row_waits_for_all_its_streams_in_any_order(database, made):
    failing = replace(GROUPS, project=lambda row, event: 1 / 0 if event.amount == POISON else group_total(row, event))
    bad = replace(DOMAIN, views=(failing,))
    events = [made("a", 1), made("b", POISON), made("c", 2), made("a", 4)]
    for each in events:
        await Projector(bad.views, database).apply([each])
    (parked,) = await spots(database, GROUPS)
    assert (parked.spot, parked.events) == (Spot("all"), 3)
    await retried(DOMAIN, database, Spot("all"), "groups")
    assert (await rows(database, GROUPS, ["all"]))["all"].total == 1 + POISON + 2 + 4


async def test_a_skip_takes_out_one_event_for_good_and_says_who_and_why(database, made):
    await Projector(DOMAIN.views, database).apply([made("a", 1), made("a", POISON), made("a", 2)])
    skipped, done = await Retry(DOMAIN, database, Published()).skip(TOTALS, Spot("a"), "ada", "a test order")
    assert (skipped.position, done.events, done.left) == (2, 1, None)
    assert await totals(database, "a") == {"a": 3}
    async with database.transaction() as transaction:
        (skip,) = await transaction.parking(TOTALS).skips()
    assert (skip.spot, skip.event, skip.who, skip.why) == (Spot("a"), skipped, "ada", "a test order")
    assert "poisoned" in skip.error


async def test_who_names_an_event_skips_no_other(database, made):
    await Projector(DOMAIN.views, database).apply([made("a", POISON), made("a", 2), made("a", POISON), made("a", 3)])
    retry = Retry(DOMAIN, database, Published())
    first, done = await retry.skip(TOTALS, Spot("a"), "ada", "a test order", 1)
    assert (first.position, done.left.position) == (1, 3)
    with pytest.raises(NotParked, match="is event 3, not 1"):
        await retry.skip(TOTALS, Spot("a"), "ada", "a test order", 1)
    second, done = await retry.skip(TOTALS, Spot("a"), "ada", "another one", 3)
    assert (second.position, done.left) == (3, None)
    assert await totals(database, "a") == {"a": 5}


async def test_a_long_queue_is_retried_in_pages(database, made, monkeypatch):
    monkeypatch.setattr("projections.retry.PAGE", 3)
    failing = replace(TOTALS, project=lambda *_: 1 / 0)
    await Projector((failing, GROUPS), database).apply([made("a", 1) for _ in range(10)])
    done = await Retry(DOMAIN, database, Published()).retry(TOTALS, Spot("a"))
    assert (done.events, done.left) == (10, None)
    assert await totals(database, "a") == {"a": 10}


async def test_what_is_not_parked_is_neither_retried_nor_skipped(database):
    retry = Retry(DOMAIN, database, Published())
    with pytest.raises(NotParked):
        await retry.retry(TOTALS, Spot("a"))
    with pytest.raises(NotParked):
        await retry.skip(TOTALS, Spot("a"), "ada", "why not")


async def test_a_view_that_was_folded_anew_has_nothing_parked(database, made):
    await Projector(DOMAIN.views, database).apply([made("a", POISON)])
    async with database.transaction() as transaction:
        await transaction.parking(GROUPS).clear()
    assert len(await spots(database)) == 1
    async with database.transaction() as transaction:
        await transaction.parking(TOTALS).clear()
    assert await spots(database) == []


class Down:
    async def rows(self, *_):
        raise ReadUnavailable("no Kafka")


async def test_a_retry_that_can_t_publish_keeps_the_key_parked_until_it_can(database, made):
    projector = Projector(DOMAIN.views, database)
    await projector.apply([made("a", POISON)])
    with pytest.raises(ReadUnavailable):
        await retried(HEALED, database, Spot("a"), publisher=Down())
    assert [parked.events for parked in await spots(database)] == [0]
    await projector.apply([made("a", 1)])
    published = Published()
    done = await retried(HEALED, database, Spot("a"), publisher=published)
    assert (done.events, await totals(database, "a")) == (1, {"a": POISON + 1})
    assert published.newest[("totals", "a")].total == POISON + 1


async def test_a_worker_and_one_who_retries_at_the_same_time_lose_nothing_and_double_nothing(read_database, made):
    with connect(read_database[0], 30) as connection:
        migrate(connection, DOMAIN)
    working, other = (PostgresDatabase(read_database[1], DOMAIN) for _ in range(2))
    random = Random(7)
    events = [made(random.choice("ab"), random.choice([1, 2, 3, POISON])) for _ in range(150)]
    at_work = True

    async def work():
        nonlocal at_work
        for each in events:
            await Projector(DOMAIN.views, working).apply([each])
        at_work = False

    async def retry():
        while at_work or await spots(other):
            for parked in await spots(other):
                await retried(HEALED, other, parked.spot)

    try:
        await asyncio.gather(work(), retry())
        expected = Counter[str]()
        for each in events:
            expected[each.event.counter] += each.event.amount
        assert await totals(other, "a", "b") == expected
    finally:
        await working.close()
        await other.close()


async def test_what_was_skipped_is_there_for_good(read_database):
    with connect(read_database[1], 30) as connection:
        for verb in ("UPDATE skips SET why = ''", "DELETE FROM skips", "TRUNCATE skips"):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(verb)
            connection.rollback()
