"""A fold whose code changed under the same version is refused at start, if it makes other rows."""

import asyncio
from dataclasses import replace

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL

from domains.orders import domain
from domains.plan import events_database
from eventstore.errors import StoreUnavailable
from infra.native import provider
from projections import __main__ as process
from projections import sql
from projections.errors import FoldChanged
from projections.plan import read_database
from projections.refolding import changed, drift, effects
from projections.refolding.changed import check
from projections.refolding.drift import Frozen
from projections.refolding.effects import Guard
from projections.refolding.rebuild import rebuild, rollback
from projections.tables import Table

DETAILS, COUNTRIES, CUSTOMERS = domain.views
NOTED = "UPDATE folds SET code = %s WHERE name = %s"
NOWHERE = "host=127.0.0.1 port=1 connect_timeout=1"


def declared(view, project):
    """The domain, one of whose views has another fold."""
    return replace(domain, views=tuple(replace(one, project=project) if one is view else one for one in domain.views))


def refactored(row, event):
    """The same by other words."""
    return DETAILS.project(row, event)


def otherwise(row, event):
    return DETAILS.project(row, event).model_copy(update={"status": "cancelled"})


def otherwise_counted(row, event):
    made = COUNTRIES.project(row, event)
    return made.model_copy(update={"orders": made.orders + 1})


def of_few(row, event):
    return DETAILS.project(row, event) if event.country == "EIRE" else None


PURE, CHANGED = declared(DETAILS, refactored), declared(DETAILS, otherwise)


def noted(system):
    return dict(system.execute("SELECT name, code FROM folds"))


async def checked(system, of=domain, store=None):
    return await check(of, system.owner, store or system.events)


@pytest.fixture
async def known(system):
    """What is noted of the code by which the rows were folded."""
    assert await checked(system) == []
    found = noted(system)
    assert found.keys() == {Table(view).name for view in domain.views}
    return found


@pytest.mark.parametrize(
    ("view", "project", "column"), [(DETAILS, otherwise, "status"), (COUNTRIES, otherwise_counted, "orders")]
)
async def test_a_changed_fold_is_refused_with_what_to_do(system, known, view, project, column):
    version = rf"from {view.version} to {view.version + 1};.*headrace projection rebuild orders/{view.name}"
    with pytest.raises(FoldChanged, match=rf"view '{view.name}' .*key '.+' the column '{column}'.*{version}"):
        await checked(system, declared(view, project))
    assert noted(system) == known


async def test_a_pure_refactoring_passes_and_is_noted(system, known):
    assert await checked(system, PURE) == []
    assert {name for name, code in noted(system).items() if known[name] != code} == {Table(DETAILS).name}
    assert await checked(system, PURE, NOWHERE) == []


async def test_the_advised_rebuild_mends_it_and_a_rollback_shows_it_again(system, known):
    async with system.standing(CHANGED) as standing:
        assert (await rebuild(standing, CHANGED.views[0], system.store)).changed == 200
        assert await checked(system, CHANGED) == []
        with pytest.raises(FoldChanged):
            await checked(system)
        await rollback(standing, CHANGED.views[0], system.store)
    with pytest.raises(FoldChanged):
        await checked(system, CHANGED)
    assert await checked(system) == []
    assert noted(system) == known


async def test_rows_that_only_the_new_code_makes_are_a_change(system):
    few = declared(DETAILS, of_few)
    system.execute("DELETE FROM order_details_v2 WHERE country <> 'EIRE'")
    assert await checked(system, few) == []
    with pytest.raises(FoldChanged, match="the column 'order'"):
        await checked(system)


@pytest.mark.usefixtures("known")
async def test_an_event_that_only_the_new_code_cannot_fold_is_a_change(system):
    def unable(row, event):
        return DETAILS.project(row, event) if event.order != "7" else 1 / 0

    with pytest.raises(FoldChanged, match=r"ZeroDivisionError.*raise the view's version"):
        await checked(system, declared(DETAILS, unable))


@pytest.mark.usefixtures("known")
async def test_what_is_parked_skipped_or_not_folded_yet_is_no_change(system):
    park = "INSERT INTO parked VALUES ('order_details_v2', '7', false, 8, 'orders-7', 1, 't', 'no', now(), 1)"
    system.execute(park)
    system.execute("UPDATE order_details_v2 SET status = 'cancelled' WHERE \"order\" = '7'")
    [skipped] = await system.store.read_stream("orders-9")
    async with system.standing() as standing:
        await standing.take_out(DETAILS, skipped, "somebody", "it is wrong")
    system.execute("DELETE FROM order_details_v2 WHERE \"order\" = '9'")
    await system.place(30)
    assert await checked(system, PURE) == []


@pytest.mark.usefixtures("known")
async def test_the_store_is_asked_only_when_code_has_changed(system):
    assert await checked(system, domain, NOWHERE) == []
    with pytest.raises(StoreUnavailable):
        await checked(system, PURE, NOWHERE)


async def test_what_takes_too_long_is_said_and_left_to_the_next_look(system, known):
    assert await check(CHANGED, system.owner, system.events, 0.0) == [DETAILS.name]
    assert noted(system) == known


async def test_a_guard_that_is_not_there_stops_no_start(system, known, monkeypatch):
    monkeypatch.setattr(effects, "DOORS", (*effects.DOORS, ("psycopg", "Connection", "gone")))
    monkeypatch.setattr(effects, "guard", Guard)
    monkeypatch.setattr(effects, "LOOKED", {})
    assert await checked(system, CHANGED) == [DETAILS.name]
    assert noted(system) == known


async def test_a_statement_that_the_database_ends_is_not_looked_at_either(system, known, monkeypatch):
    slow = "SELECT {columns} FROM {table}, pg_sleep(%(share)s + %(limit)s) ORDER BY {key}"
    template = sql.template
    monkeypatch.setattr(sql, "template", lambda name: SQL(slow) if name == "sampled" else template(name))
    options = conninfo_to_dict(system.owner).get("options") or ""
    hurried = make_conninfo(system.owner, options=f"{options} -c statement_timeout=100ms")
    assert await check(CHANGED, hurried, system.events) == [DETAILS.name]
    assert noted(system) == known


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("before", ["another", ""])
async def test_a_swap_after_the_look_is_not_overwritten(system, monkeypatch, before):
    compare = changed.compare

    async def swapped(*given):
        await compare(*given)
        system.execute(NOTED, "", Table(DETAILS).name)

    system.execute(NOTED, before, Table(DETAILS).name)
    monkeypatch.setattr(changed, "compare", swapped)
    assert await checked(system) == [DETAILS.name]
    assert noted(system)[Table(DETAILS).name] == ""
    monkeypatch.undo()
    assert await checked(system) == []
    assert noted(system)[Table(DETAILS).name] != ""


async def test_of_a_large_table_some_blocks_are_read_the_same_each_time(system, monkeypatch):
    monkeypatch.setattr(drift, "READ", 1)
    async with Frozen.open(system.owner) as frozen:
        await frozen.hold(DETAILS)
        few, again, all_of_them = [await frozen.some(DETAILS, most) for most in (20, 20, 1000)]
    assert few == again
    assert len(few) == 20
    assert len(all_of_them) == 200
    assert few.keys() <= all_of_them.keys()


@pytest.mark.usefixtures("known")
async def test_a_refused_start_ends_with_one_and_says_why(system, monkeypatch, capsys):
    databases = {read_database(domain): system.owner, events_database(domain): system.events}
    monkeypatch.setattr(process, "load", lambda: None)
    monkeypatch.setattr(process, "conninfo", lambda _, name: databases[name])
    assert await asyncio.to_thread(process.prepare, PURE) == 0
    assert await asyncio.to_thread(process.prepare, CHANGED) == 1
    assert "headrace projection rebuild orders/order-details" in capsys.readouterr().err


def test_the_look_is_given_what_is_left_of_the_step(monkeypatch):
    assert process.STEP_SECONDS == provider.JOB_SECONDS
    monkeypatch.setattr(process, "monotonic", lambda: 1000.0)
    assert [process.left(1000.0 - gone) for gone in (0, 30, 70, 200)] == [60.0, 60.0, 30.0, 0.0]
