"""A dry run foretells the whole rebuild, and not its fold alone."""

import json
from types import SimpleNamespace

import pytest

from domains.handler import Handler, Request
from domains.orders import domain
from eventstore.memory import MemoryStore
from projections.refolding import estimate as estimated
from projections.refolding.estimate import FOLLOWED, estimate, lasts
from projections.refolding.rebuild import ROW

DETAILS = domain.views[0]
LINE = {"sku": "85123A", "quantity": 40, "unit_price": "2.55"}
EVENTS, SECONDS = 40, 2.0


class Standing:
    """A read database that is up to date, with so many live rows."""

    def __init__(self, rows):
        self.domain, self._rows = domain, rows

    async def positions(self):
        return dict.fromkeys(range(domain.partitions), EVENTS)

    async def rows(self, _):
        return self._rows


@pytest.fixture
async def store(monkeypatch):
    """Forty orders that came within the last hour; to fold a sample of them takes two seconds."""
    moments = iter([0.0, SECONDS])
    store = MemoryStore()
    for number in range(EVENTS):
        body = {"placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE], "country": "EIRE"}
        await Handler(domain, store).handle(Request(str(number), "place", json.dumps(body).encode()))
    [first] = await store.read_log(limit=1)
    clocks = SimpleNamespace(count=lambda: next(moments), now=lambda: first.recorded_at.timestamp() + 3600)
    monkeypatch.setattr(estimated, "perf_counter", clocks.count)
    monkeypatch.setattr(estimated, "time", clocks.now)
    return store


@pytest.mark.parametrize(("live", "rows"), [(500, 500), (0, EVENTS)], ids=["live", "a new version"])
async def test_rows_that_are_copied_and_compared_take_their_time(store, live, rows):
    told = await estimate(Standing(live), DETAILS, store, 1 << 30)
    assert (told.events, told.rows, told.passes, told.arriving) == (EVENTS, live, 1, 0.0)
    assert told.seconds == pytest.approx((EVENTS + ROW * rows) / told.events_per_second, rel=0.05)


def test_what_comes_meanwhile_is_caught_up_with_or_never():
    assert lasts(1000, 100.0, 0.0) == 10.0
    assert lasts(1000, 100.0, 50.0 / FOLLOWED) == 20.0
    assert lasts(1000, 100.0, 100.0 / FOLLOWED) is None
    assert lasts(0, 100.0, 1000.0) == 0.0
