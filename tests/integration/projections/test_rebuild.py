"""A view is rebuilt beside the live one: nobody notices, and whatever dies leaves one complete version."""

import asyncio
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL

from domains.orders import domain
from projections.errors import EffectRefused, NotProved, ReadUnavailable, RebuildFailed, RebuildRefused, Superseded
from projections.migrate import migrate
from projections.paging import Place
from projections.refolding import proof
from projections.refolding.beside import Beside
from projections.refolding.complete import complete, recorded
from projections.refolding.estimate import estimate
from projections.refolding.rebuild import rebuild, rollback
from projections.refolding.republish import Republisher
from projections.serving.views import Views
from projections.tables import PREVIOUS, Table
from tests.conftest import empty_read_database
from tests.disk import ROOM, full_disk
from tests.integration.projections.conftest import opened

DETAILS, COUNTRIES, CUSTOMERS = domain.views
LIVE = {Table(view).name for view in domain.views}
KILLS = int(os.environ.get("HEADRACE_REBUILD_KILLS", "3"))
PROCESS = Path(__file__).with_name("rebuild_process.py")


async def rebuilt(system, view=DETAILS, declared=domain, **options):
    async with system.standing(declared) as standing:
        return await rebuild(standing, view, system.store, **options)


def rows(system, view):
    return [row[3:] for row in system.dump(view)]


async def rebuilt_as_soon_as_possible(system):
    """The server needs a moment to see that a client died."""
    async with asyncio.timeout(30):
        while True:
            with suppress(RebuildRefused):
                return await rebuilt(system)


class Published:
    """Keeps what was published: the status of each order."""

    def __init__(self):
        self.rows_of = {}

    async def rows(self, *changed):
        for view, rows in changed:
            self.rows_of[view.name] = {key: row and row.status for key, row in rows.items()}


def spoil(system):
    """A wrong row, one that is missing and one that never was."""
    system.execute("UPDATE order_details_v2 SET status = 'cancelled' WHERE \"order\" = '7'")
    system.execute("DELETE FROM order_details_v2 WHERE \"order\" = '8'")
    system.execute("UPDATE order_details_v2 SET \"order\" = 'x' WHERE \"order\" = '9'")


async def test_a_rebuilt_view_is_what_the_store_says_and_its_changed_rows_wait_to_be_published(system):
    spoil(system)
    done = await rebuilt(system)
    assert (done.rows, done.events, done.passes, done.changed, done.position) == (200, 200, 1, 4, 200)
    assert await system.drift() == []
    published = Published()
    republisher = Republisher(domain, system.reader, published)
    assert [await republisher.once(), await republisher.once()] == [4, 0]
    await republisher.close()
    assert published.rows_of == {DETAILS.name: {**dict.fromkeys("789", "placed"), "x": None}}
    assert system.execute("SELECT count(*) FROM republish") == [(0,)]
    assert system.tables() == LIVE | {Table(DETAILS, PREVIOUS).name}


@pytest.mark.parametrize("view", domain.views, ids=lambda view: view.name)
async def test_little_memory_makes_several_passes_and_the_same_rows(system, view):
    plenty = await rebuilt(system, view)
    before = rows(system, view)
    tight = await rebuilt(system, view, memory=20_000)
    assert (plenty.passes, tight.passes > 1 or view is COUNTRIES) == (1, True)
    assert (tight.rows, tight.changed) == (plenty.rows, 0)
    assert rows(system, view) == before


async def test_a_reader_never_sees_a_view_that_is_empty_or_older_while_it_is_rebuilt_under_writes(system):
    views, over, looks = Views(system.reader, domain), asyncio.Event(), 0
    await views.open()

    async def write():
        while not over.is_set():
            await system.place(5)
            await system.project()

    async def look():
        nonlocal looks
        seen = {}
        while not over.is_set():
            now = {place: (await views.one(COUNTRIES, place)).orders for place in ("France", "EIRE", "United Kingdom")}
            now |= {"details": len(await views.page(DETAILS, {}, Place(), 10_000))}
            assert all(now[name] >= seen.get(name, 1) for name in now), (seen, now)
            seen, looks = now, looks + 1

    others = [asyncio.create_task(write()), asyncio.create_task(look())]
    for view in domain.views * 2:
        done = await rebuilt(system, view)
        assert (done.changed, done.position >= 200) == (0, True)
    over.set()
    await asyncio.gather(*others)
    await views.close()
    assert looks > 10
    assert await system.drift() == []


async def test_a_rebuild_that_is_killed_leaves_one_complete_version_and_the_next_begins_anew(system):
    chance = Random(17)
    for _ in range(KILLS):
        child = await asyncio.create_subprocess_exec(
            sys.executable, PROCESS, DETAILS.name, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        child.stdin.write(f"{system.owner}\n{system.events}\n".encode())
        child.stdin.close()
        assert await child.stdout.readline() == b"begins\n"
        with suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), chance.uniform(0, 0.25))
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        assert system.tables() >= LIVE
        await system.place(1)
        await system.project()
        assert await system.drift() == []
        await rebuilt_as_soon_as_possible(system)
        assert system.tables() == LIVE | {Table(DETAILS, PREVIOUS).name}


async def test_a_view_whose_name_leaves_no_room_is_refused(system):
    with pytest.raises(RebuildRefused, match="too long"):
        await rebuilt(system, replace(DETAILS, name="a" * 60))


async def test_two_rebuilds_of_one_view_at_once_are_refused_and_of_two_views_are_not(system):
    async with system.standing() as other, other.claimed(DETAILS):
        with pytest.raises(RebuildRefused, match="order-details is being rebuilt"):
            await rebuilt(system)
        await rebuilt(system, COUNTRIES)
    await rebuilt(system)


async def test_what_a_rebuild_changed_is_taken_back_and_what_came_meanwhile_stays(system):
    async with system.standing() as standing:
        with pytest.raises(RebuildRefused, match="no version of order-details before"):
            await rollback(standing, DETAILS, system.store)
        system.execute("UPDATE order_details_v2 SET status = 'cancelled' WHERE \"order\" = '7'")
        await rebuild(standing, DETAILS, system.store)
        await system.place(10)
        await system.project()
        back = await rollback(standing, DETAILS, system.store)
        assert (back.rows, back.changed) == (210, 1)
        assert [(one.key, one.column) for one in await system.drift()] == [("7", "status")]
        again = await rollback(standing, DETAILS, system.store)
        assert (again.rows, again.changed, await system.drift()) == (210, 1, [])


def failing(row, event):
    if event.order == "205":
        raise ValueError("no")
    return DETAILS.project(row, event)


async def test_a_parked_key_is_folded_by_a_rebuild_and_parked_again_by_a_rollback(system):
    declared = replace(domain, views=(replace(DETAILS, project=failing), COUNTRIES, CUSTOMERS))
    await system.place(10)
    await system.project(declared)
    parked = "SELECT name, position FROM parked WHERE view = 'order_details_v2'"
    assert [name for name, _ in system.execute(parked)] == ["205"]
    assert (len(system.dump(DETAILS)), await system.drift()) == (209, [])
    with pytest.raises(RebuildFailed, match="orders-205"):
        await rebuilt(system, declared.views[0], declared)
    assert (await rebuilt(system)).changed == 1
    assert (len(system.dump(DETAILS)), system.execute(parked)) == (210, [])
    async with system.standing() as standing:
        await rollback(standing, DETAILS, system.store)
    assert [name for name, _ in system.execute(parked)] == ["205"]
    assert system.execute("SELECT view, count(*) FROM parked_events GROUP BY view") == [("order_details_v2", 1)]


async def test_a_view_that_fails_or_reaches_for_the_world_leaves_the_live_one_as_it_is(system, tmp_path):
    def project(row, event):
        if event.order == "150":
            raise ValueError("no")
        return DETAILS.project(row, event)

    def reaching(row, event):
        (tmp_path / "file").write_text("x")
        return DETAILS.project(row, event)

    with pytest.raises(RebuildFailed, match=r"stream 'orders-150', position \d+: ValueError: no"):
        await rebuilt(system, replace(DETAILS, project=project))
    with pytest.raises(EffectRefused, match=r"the view order-details fails on event 1 .* open for writing"):
        await rebuilt(system, replace(DETAILS, project=reaching))
    assert list(tmp_path.iterdir()) == []
    assert (system.tables(), await system.drift()) == (LIVE, [])


def of_chance(view, column):
    """The same view; but what is folded into a column is another value each time."""

    def project(row, event):
        made = view.project(row, event)
        return made and made.model_copy(update={column: type(getattr(made, column))(uuid4().int % 2**40)})

    return replace(view, project=project)


@pytest.mark.parametrize("beyond", [False, True], ids=["all", "a part"])
@pytest.mark.parametrize(("view", "column"), [(DETAILS, "currency"), (COUNTRIES, "orders")])
async def test_a_fold_that_makes_another_row_each_time_never_becomes_live(system, monkeypatch, view, column, beyond):
    if beyond:
        monkeypatch.setattr(proof, "EVENTS", 50)
        monkeypatch.setattr(proof, "OF_ROW", 1)
        monkeypatch.setattr(proof, "AT_ONCE", 10)
    before = rows(system, view)
    with pytest.raises(NotProved, match=f"{view.name} was made anew.* {column} of the row '.*' is another when"):
        await rebuilt(system, of_chance(view, column))
    assert (system.tables(), rows(system, view), await system.drift()) == (LIVE, before, [])


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE {} SET status = 'cancelled' WHERE \"order\" = '7'", "status of the row '7' in its new table"),
        ("DELETE FROM {} WHERE \"order\" = '7'", "its new table has 199 rows, and 200 were folded"),
        ("UPDATE {} SET \"order\" = 'x' WHERE \"order\" = '7'", "order of the row '7' in its new table"),
        ("DROP INDEX order_details_v2_next_country_order_idx", r"its new table has \d whole indexes, and not \d"),
    ],
    ids=["a value", "no row", "a key", "no index"],
)
async def test_a_table_that_is_not_what_was_folded_never_becomes_live(system, monkeypatch, statement, said):
    stand_at = Beside.stand_at

    async def spoilt(self, bounds):
        await stand_at(self, bounds)
        await self._connection.execute(SQL(statement).format(self.table.identifier))

    monkeypatch.setattr(Beside, "stand_at", spoilt)
    with pytest.raises(NotProved, match=said):
        await rebuilt(system)
    assert (system.tables(), await system.drift()) == (LIVE, [])


@pytest.fixture
async def full(floor, postgres):
    """The read database is on a server of its own, whose files can't grow; 200 orders are placed and projected."""
    with full_disk(floor) as disk:
        async with opened(empty_read_database(disk), postgres) as system:
            await system.place(200)
            await system.project()
            yield system


def large(row, event):
    """More in one row than can be packed: all together, more than the disk takes."""
    made = DETAILS.project(row, event)
    return made.model_copy(update={"currency": Random(made.order).randbytes(ROOM // 100).hex()})


async def test_a_disk_that_is_full_in_the_midst_of_a_rebuild_leaves_the_live_one_as_it_is(full):
    live = full.dump(DETAILS)
    with pytest.raises(ReadUnavailable, match="could not extend file"):
        await rebuilt(full, replace(DETAILS, project=large))
    [(error, told)] = full.execute("SELECT error, done < total FROM rebuilding")
    assert ("could not extend file" in error, told) == (True, True)
    left = "SELECT projection FROM positions WHERE projection <> 'views' UNION ALL SELECT name FROM rebuilds"
    assert (full.tables(), full.execute(left), full.dump(DETAILS), await full.drift()) == (LIVE, [], live, [])
    await full.place(5)
    await full.project()
    done = await rebuilt(full)
    assert (done.rows, done.changed, await full.drift()) == (205, 0, [])


def newer(view, **changes):
    version = replace(view, version=view.version + 1, **changes)
    return replace(domain, views=tuple(version if each is view else each for each in domain.views))


def shouted(row, event):
    """Another fold over the same row, which needs another version."""
    return DETAILS.project(row, event).model_copy(update={"currency": "gbp"})


async def deployed(system, declared):
    """What the job before the processes does."""
    with psycopg.connect(system.owner) as connection:
        migrate(connection, declared, recorded=await recorded(system.events))
        done = await complete(declared, system.owner, system.events)
        migrate(connection, declared)
    return [each.view for each in done]


async def test_a_new_version_of_a_view_is_built_while_the_one_before_is_served(system):
    declared = newer(DETAILS, project=shouted)
    await system.place(10)
    assert await deployed(system, declared) == ["orders/order-details"]
    assert len(system.dump(DETAILS)) == len(system.dump(declared.views[0])) == 200
    with pytest.raises(Superseded, match="order_details_v3"):
        await system.project()
    await system.project(declared)
    assert (len(system.dump(declared.views[0])), await system.drift(declared)) == (210, [])
    assert system.execute("SELECT count(*) FROM republish WHERE name = 'order_details_v3'") == [(200,)]
    assert await deployed(system, declared) == []


async def test_going_back_to_the_version_before_builds_it_anew(system):
    declared = newer(DETAILS, project=shouted)
    await deployed(system, declared)
    await system.place(10)
    await system.project(declared)
    assert await deployed(system, domain) == ["orders/order-details"]
    assert (len(system.dump(DETAILS)), await system.drift()) == (210, [])


async def test_a_read_database_that_was_dropped_comes_back_from_the_store(system):
    system.execute("DROP TABLE {}".format(", ".join([*LIVE, "positions", "tables", "rebuilds", "republish"])))
    with psycopg.connect(system.owner) as connection:
        assert migrate(connection, domain, recorded=True) == list(domain.views)
    await system.place(1)
    with pytest.raises(ReadUnavailable, match="does not exist"):
        await system.project()
    assert system.tables() == set()
    assert len(await deployed(system, domain)) == len(domain.views)
    assert await system.drift() == []
    assert system.execute('SELECT min("offset"), max(position) FROM positions') == [(1 << 62, 201)]
    await system.place(10)
    await system.project()
    assert await system.drift() == []


async def test_a_dry_run_changes_nothing(system):
    spoil(system)
    before = system.dump(DETAILS), system.execute("SELECT * FROM positions ORDER BY partition")
    async with system.standing() as standing:
        told = await estimate(standing, DETAILS, system.store, 1 << 30)
    assert (told.events, told.rows, told.passes, told.suppressed != []) == (200, 199, 1, True)
    assert (system.dump(DETAILS), system.execute("SELECT * FROM positions ORDER BY partition")) == before
    assert (system.tables(), system.execute("SELECT count(*) FROM rebuilding")) == (LIVE, [(0,)])
