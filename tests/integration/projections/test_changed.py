"""A fold whose code changed under the same version is refused at start, if it makes other rows."""

import asyncio
from dataclasses import replace

import pytest

from domains.orders import domain
from domains.plan import events_database
from eventstore.errors import StoreUnavailable
from projections import __main__ as process
from projections.errors import FoldChanged
from projections.plan import read_database
from projections.refolding import changed
from projections.refolding.changed import check
from projections.refolding.rebuild import rebuild, rollback
from projections.tables import Table

DETAILS, COUNTRIES, CUSTOMERS = domain.views
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


async def test_what_takes_too_long_is_said_and_left_to_the_next_look(system, known, monkeypatch):
    monkeypatch.setattr(changed, "SECONDS", 0.0)
    assert await checked(system, CHANGED) == [DETAILS.name]
    assert noted(system) == known


@pytest.mark.usefixtures("known")
async def test_a_refused_start_ends_with_one_and_says_why(system, monkeypatch, capsys):
    databases = {read_database(domain): system.owner, events_database(domain): system.events}
    monkeypatch.setattr(process, "load", lambda: None)
    monkeypatch.setattr(process, "conninfo", lambda _, name: databases[name])
    assert await asyncio.to_thread(process.prepare, PURE) == 0
    assert await asyncio.to_thread(process.prepare, CHANGED) == 1
    assert "headrace projection rebuild orders/order-details" in capsys.readouterr().err
