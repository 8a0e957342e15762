"""The views, as folds over one row."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from domains.orders import domain
from domains.orders.model import evolve, initial
from domains.orders.views import customer_history, order_details, sales_by_country


def fold(project, events):
    row = None
    for event in events:
        row = project(row, event)
    return row


def told(story):
    story.when(story.place(story.line(6)))
    story.when(story.give_back(story.line(1)))
    story.when(story.cancel())
    return story.events


def test_the_details_are_the_state_of_the_order(story):
    events = told(story)
    assert fold(order_details, events) == story.state
    assert order_details(None, events[0]) == evolve(initial, events[0])


def test_a_country_counts_what_was_sold_and_given_back(story):
    row = fold(sales_by_country, told(story))
    assert (row.country, row.orders, row.returns, row.cancellations) == ("United Kingdom", 1, 1, 1)
    assert (row.sold, row.credited) == ({"GBP": Decimal("15.30")}, {"GBP": Decimal("15.30")})


def test_a_customer_is_seen_from_the_first_to_the_last_time(story):
    events = told(story)
    row = fold(customer_history, reversed(events))
    assert (row.first_seen_at, row.last_seen_at) == (events[0].occurred_at, events[-1].occurred_at)


def test_an_order_without_a_customer_has_no_history(story):
    story.when(story.place(customer=None))
    view = domain.view("customer-history")
    assert view.key_of(story.events[0]) is None
    assert customer_history(None, story.events[0]) is None


@given(st.permutations(range(8)), st.lists(st.sampled_from(["EUR", "GBP"]), min_size=8, max_size=8))
def test_a_shared_row_does_not_depend_on_the_order_in_which_streams_arrive(new_story, order, currencies):
    streams = []
    for number, currency in enumerate(currencies):
        story = new_story()
        story.when(story.place(story.line(number + 1), order=f"o{number}", currency=currency))
        streams.append(story.events)
    straight = [event for events in streams for event in events]
    mixed = [event for number in order for event in streams[number]]
    for project in (sales_by_country, customer_history):
        assert fold(project, mixed) == fold(project, straight)
