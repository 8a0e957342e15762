"""Given events, when a command, then events: the decider in its own words."""

from datetime import UTC, datetime

import pytest

from domains.orders.commands import CancelOrder, PlaceOrder, ReturnLines
from domains.orders.model import decide, evolve, initial

AT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
LATER = datetime(2010, 12, 3, 9, 0, tzinfo=UTC)


class Story:
    """An order, told by commands: `state` is the fold of all `events`."""

    def __init__(self):
        self.events = []

    @property
    def state(self):
        state = initial
        for event in self.events:
            state = evolve(state, event)
        return state

    def when(self, command):
        events = list(decide(self.state, command))
        self.events += events
        return events

    def line(self, quantity=6, sku="85123A", price="2.55"):
        return {"sku": sku, "quantity": quantity, "unit_price": price}

    def place(self, *lines, **more):
        given = {"order": "536365", "customer": "17850", "country": "United Kingdom", "currency": "GBP"}
        return PlaceOrder(**{**given, "placed_at": AT, "lines": lines or (self.line(),), **more})

    def cancel(self, **more):
        return CancelOrder(**{"order": "536365", "cancelled_at": LATER, **more})

    def give_back(self, *lines, **more):
        given = {"order": "536365", "customer": "17850", "country": "France", "currency": "GBP"}
        return ReturnLines(**{**given, "returned_at": LATER, "lines": lines or (self.line(),), **more})


@pytest.fixture
def story():
    return Story()


@pytest.fixture(scope="session")
def new_story():
    """Makes stories, for tests that need many."""
    return Story
