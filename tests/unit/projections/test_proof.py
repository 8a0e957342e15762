"""What a rebuild folds once more before it is live: never nothing, and what it compares has been made."""

import json
from dataclasses import replace
from types import SimpleNamespace
from uuid import uuid4

import pytest

from domains.handler import Handler, Request
from domains.orders import domain
from eventstore.memory import MemoryStore
from projections.errors import NotProved
from projections.refolding import proof
from projections.refolding.proof import ANOTHER, Proof, Sample
from projections.refolding.refold import Refold

DETAILS, COUNTRIES, _ = domain.views
LINE = {"sku": "85123A", "quantity": 40, "unit_price": "2.55"}
PLACED = {"placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE], "customer": "17850"}
BACK = {"returned_at": "2010-12-02T08:26:00Z", "currency": "GBP", "lines": [LINE | {"quantity": 1}]}
EACH = ["France"] * 4 + ["Norway"] + ["EIRE"] * 5


@pytest.fixture
async def store():
    """Ten orders, of which the first is returned in part at the end."""
    store = MemoryStore()
    handler = Handler(domain, store)
    for number, country in enumerate(EACH):
        await handler.handle(Request(str(number), "place", json.dumps(PLACED | {"country": country}).encode()))
    await handler.handle(Request("0", "return", json.dumps(BACK).encode()))
    return store


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(proof, "EVENTS", 6)
    monkeypatch.setattr(proof, "AT_ONCE", 1)
    monkeypatch.setattr(proof, "OF_ROW", 1)


def proving(view, store):
    return Proof(SimpleNamespace(domain=domain), view, store, dict.fromkeys(range(domain.partitions), 11), frozenset())


def of_chance(view, *keys):
    def project(row, event):
        made = view.project(row, event)
        return made.model_copy(update={"orders": uuid4().int % 2**40}) if view.key_of(event) in keys else made

    return replace(view, project=project)


async def test_in_a_longer_log_any_row_that_its_first_events_make_is_compared(store):
    view = proving(of_chance(COUNTRIES, "Norway"), store)
    again, before = await view._of_log({"France": None}, {})
    assert again.keys() == {"France", "Norway", "EIRE"}
    with pytest.raises(NotProved, match="orders of the row 'Norway' is another"):
        view._compare(again, before, again, ANOTHER)


async def test_a_row_without_an_event_among_the_first_is_not_called_proved(store, monkeypatch):
    monkeypatch.setattr(proof, "EVENTS", 4)
    for made in await proving(COUNTRIES, store)._of_log({"EIRE": None}, {}):
        assert made.keys() == {"France"}
        assert None not in made.values()


async def test_where_the_first_events_make_no_row_more_are_read_until_they_do(store, monkeypatch):
    monkeypatch.setattr(proof, "EVENTS", 2)
    abroad = replace(COUNTRIES, key_of=lambda event: key if (key := COUNTRIES.key_of(event)) != "France" else None)
    for made in await proving(abroad, store)._of_log({"EIRE": None}, {}):
        assert made.keys() == {"Norway"}


async def test_where_the_whole_log_makes_no_row_it_is_not_folded_again(store, monkeypatch):
    folded, fold = list[int](), Refold.fold

    def counted(self, page, rows, *given):
        folded.append(len(page))
        return fold(self, page, rows, *given)

    monkeypatch.setattr(Refold, "fold", counted)
    view = replace(COUNTRIES, key_of=lambda _: None)
    assert await proving(view, store)._of_log({}, {}) == ({}, {})
    assert sum(folded) == 2 * proof.EVENTS


async def test_a_row_that_its_first_events_do_not_make_is_not_called_proved(store, monkeypatch, caplog):
    late = replace(DETAILS, project=lambda _row, _event: None)
    view, sample = proving(late, store), Sample(1)
    assert await view._of_streams({"0": None}, {}) == ({}, {})
    assert (await proving(DETAILS, store)._of_streams({"0": None}, {}))[0].keys() == {"0"}

    async def one(what, *_, **__):
        return {"rows": 1, "whole": 0} if what == "count" else {"whole": 0}

    async def table(*_):
        return sample.rows

    rows, _ = await proving(DETAILS, store)._of_streams({"0": None}, {})
    sample.add(rows)
    monkeypatch.setattr(Proof, "_table", table)
    view.standing.one = one
    await view.of(SimpleNamespace(table=SimpleNamespace(identifier=None, name="t", indexes=[])), sample)
    assert caplog.messages == ["no row of order-details could be folded once more: its fold is not proved"]
