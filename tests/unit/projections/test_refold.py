"""The fold that verify, rebuild and replay share: its source, its limits, and what it refuses."""

import json
import os
import socket
import subprocess
from dataclasses import replace
from random import Random

import pytest

from domains.handler import Handler, Request
from domains.orders import domain
from eventstore.memory import MemoryStore
from projections.errors import EffectRefused, RebuildFailed
from projections.refolding import refold
from projections.refolding.effects import refused
from projections.refolding.rebuild import HASHES, Ranges
from projections.refolding.refold import Log, Refold

DETAILS, COUNTRIES, _ = domain.views
LINE = {"sku": "85123A", "quantity": 40, "unit_price": "2.55"}
LANES = range(domain.partitions)


@pytest.fixture
async def store(monkeypatch):
    """Forty orders, read in pages of seven."""
    monkeypatch.setattr(refold, "PAGE", 7)
    store = MemoryStore()
    for number in range(40):
        body = {"placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE], "country": "EIRE"}
        await Handler(domain, store).handle(Request(str(number), "place", json.dumps(body).encode()))
    return store


async def positions(log, bounds):
    return [event.position async for page in log.pages(bounds) for event in page]


async def test_whatever_the_bounds_each_event_comes_once_and_within_the_bound_of_its_partition(store):
    for seed in range(20):
        chance, log, bounds, seen = Random(seed), Log(domain, store), dict.fromkeys(LANES, 0), set()
        for _ in range(6):
            bounds = {lane: chance.randint(bound, 40) for lane, bound in bounds.items()}
            found = [event async for page in log.pages(bounds) for event in page]
            assert [event.position for event in found] == sorted(event.position for event in found)
            assert all(event.position <= bounds[log.partition(event)] for event in found)
            seen |= {event.position for event in found}
        wanted = {event.position for event in await store.read_log() if event.position <= bounds[log.partition(event)]}
        assert seen == wanted


async def test_what_was_read_is_not_read_again_when_all_partitions_have_gone_on(store):
    log = Log(domain, store)
    assert await positions(log, dict.fromkeys(LANES, 20)) == [*range(1, 21)]
    assert await positions(log, dict.fromkeys(LANES, 40)) == [*range(21, 41)]
    assert await positions(log, dict.fromkeys(LANES, 40)) == []


async def test_events_that_a_person_took_out_are_not_folded(store):
    two = {(event.position, event.stream) for event in await store.read_log(after=2, limit=2)}
    for skipped, left in ((two, 38), ({(position, "orders-x") for position, _ in two}, 40)):
        rows = await Refold(domain, DETAILS, store, dict.fromkeys(LANES, 40), skipped).rows(refold.everything)
        assert len(rows) == left


@pytest.mark.parametrize("limit", [2_000, 20_000, 10**9])
async def test_ranges_of_keys_make_the_same_rows_as_all_at_once(store, limit):
    everything = Refold(domain, DETAILS, store, dict.fromkeys(LANES, 40))
    ranges, found, passes = Ranges(limit), {}, 0
    while ranges.first < HASHES:
        rows = {}
        async for page in everything.pages():
            ranges.weigh(rows, everything.fold(page, rows, ranges.takes))
            assert len(rows) * ranges.weight <= limit * ranges.weighed or len(rows) == 1
        assert not rows.keys() & found.keys()
        found, passes = found | rows, passes + 1
        ranges.next()
    assert found == await everything.rows(refold.everything)
    assert (passes > 1) is (limit < 10**9)


def connect(_):
    socket.create_connection(("127.0.0.1", 9), 0.1)


def spawn(_):
    subprocess.run(["true"], check=True)


def write(folder):
    (folder / "file").write_text("x")


def swallow(folder):
    try:
        write(folder)
    except RuntimeError:
        return


@pytest.mark.parametrize("effect", [connect, spawn, write, swallow])
async def test_a_view_that_reaches_for_the_world_is_stopped_and_named_with_the_event(store, tmp_path, effect):
    def project(row, event):
        if event.order == "30":
            effect(tmp_path)
        return DETAILS.project(row, event)

    fold = Refold(domain, replace(DETAILS, project=project), store, dict.fromkeys(LANES, 40))
    with pytest.raises(EffectRefused, match=r"order-details fails on event 1 of stream 'orders-30', position 31"):
        await fold.rows(refold.everything)
    assert list(tmp_path.iterdir()) == []
    effects_are_back = tmp_path / "after"
    effects_are_back.write_text("x")


def test_reading_a_file_is_no_effect(tmp_path):
    (tmp_path / "rates").write_text("2")
    with refused():
        assert (tmp_path / "rates").read_text() == "2"
        with pytest.raises(RuntimeError, match="open for writing"):
            os.open(tmp_path / "rates", os.O_RDWR)


@pytest.mark.parametrize("made", [COUNTRIES.row(country="EIRE"), DETAILS.row(order="another", status="placed")])
async def test_a_row_that_is_none_of_the_view_is_refused(store, made):
    fold = Refold(domain, replace(DETAILS, project=lambda _row, _event: made), store, dict.fromkeys(LANES, 40))
    with pytest.raises(RebuildFailed, match="makes no Order with the key '0'"):
        await fold.rows(refold.everything)
