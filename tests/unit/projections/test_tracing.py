"""A row that no part of the log makes is explained by one event that was left out or folded twice, within bounds."""

import json
from dataclasses import replace

import pytest

from domains.codec import decode
from domains.handler import Handler, Request
from domains.orders import domain
from eventstore.memory import MemoryStore
from projections.refolding import tracing
from projections.refolding.refold import Refold
from projections.refolding.tracing import Since, since

_, COUNTRIES, _ = domain.views
EVENTS = 6


@pytest.fixture
async def store():
    """Six orders from one country, each of another amount, after one from elsewhere."""
    store = MemoryStore()
    for number, country in enumerate(["France", *["EIRE"] * EVENTS]):
        line = {"sku": "85123A", "quantity": 2**number, "unit_price": "2.55"}
        body = {"placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [line], "country": country}
        await Handler(domain, store).handle(Request(str(number), "place", json.dumps(body).encode()))
    return store


async def row(store, positions):
    """What these events alone make, in this order."""
    row, log = None, {event.position: event for event in await store.read_log()}
    for position in positions:
        row = COUNTRIES.project(row, decode(domain, log[position]))
    return row


async def traced(store, live, view=COUNTRIES):
    bounds = dict.fromkeys(range(domain.partitions), EVENTS + 1)
    return await since(domain, view, Refold(domain, view, store, bounds), live)


@pytest.mark.parametrize(
    ("folded", "found"),
    [
        ([2, 3, 5, 6, 7], Since(4, "left out")),
        ([3, 4, 5, 6, 7], Since(2, "left out")),
        ([2, 3, 4, 4, 5, 6, 7], Since(4, "folded twice")),
        ([2, 3, 4, 5, 6, 7, 7], Since(7, "folded twice")),
        ([2, 3, 4, 5, 6], Since(7)),
        ([2, 3], Since(4)),
        ([2, 3, 5, 5, 6, 7], None),
        ([2, 4, 5, 7], None),
    ],
)
async def test_the_event_that_explains_a_row_is_named(store, folded, found):
    assert (await traced(store, {"EIRE": await row(store, folded)})).get("EIRE") == found


async def test_a_history_that_a_view_cannot_fold_explains_nothing_and_an_effect_in_it_does_not_happen(store, tmp_path):
    def project(row, event):
        # Without the second of its orders, the third is one that this view reaches for the world with.
        if row is not None and event.total > row.sold.get("GBP", 0) * 2 + 10:
            (tmp_path / "file").write_text("x")
        return COUNTRIES.project(row, event)

    live = {"EIRE": await row(store, [2, 3, 4, 4, 5, 6, 7])}
    assert await traced(store, live, replace(COUNTRIES, project=project)) == {"EIRE": Since(4, "folded twice")}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("bound", "least"), [("EVENTS", EVENTS), ("FOLDS", EVENTS * (EVENTS + 2)), ("BYTES", 10_000)])
async def test_what_costs_more_than_the_bounds_is_not_tried(store, monkeypatch, bound, least):
    live = {"EIRE": await row(store, [2, 3, 5, 6, 7])}
    monkeypatch.setattr(tracing, bound, least)
    assert await traced(store, live) == {"EIRE": Since(4, "left out")}
    monkeypatch.setattr(tracing, bound, EVENTS - 1)
    assert await traced(store, live) == {}


async def test_no_more_folds_are_made_than_were_reckoned(store):
    folds = 0

    def project(row, event):
        nonlocal folds
        folds += 1
        return COUNTRIES.project(row, event)

    live = (await row(store, [2])).model_copy(update={"orders": 100})
    assert await traced(store, {"EIRE": live}, replace(COUNTRIES, project=project)) == {}
    assert folds == EVENTS + EVENTS * (EVENTS + 2)
