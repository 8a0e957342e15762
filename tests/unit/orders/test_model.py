"""What may happen to an order."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domains.errors import Refused
from domains.orders.events import CreditNoteIssued, LinesReturned, OrderCancelled, OrderPlaced


@pytest.fixture
def placed(story):
    story.when(story.place(story.line(6), story.line(2, "71053", "3.39")))
    return story


def refused(story, command):
    with pytest.raises(Refused) as error:
        story.when(command)
    return error.value.code


def test_an_order_is_placed_once_with_its_exact_worth(placed):
    (event,) = placed.events
    assert isinstance(event, OrderPlaced)
    assert (event.total, placed.state.status) == (Decimal("22.08"), "placed")


def test_placing_the_same_again_changes_nothing(placed):
    assert placed.when(placed.place(placed.line(6), placed.line(2, "71053", "3.39"))) == []


def test_placing_something_else_under_the_same_number_is_refused(placed):
    assert refused(placed, placed.place()) == "already-placed"


def test_a_cancelled_order_is_credited_what_it_was_worth(placed):
    (event,) = placed.when(placed.cancel(reason="too late"))
    assert isinstance(event, OrderCancelled)
    assert (event.total, event.reason) == (Decimal("22.08"), "too late")
    assert (placed.state.status, placed.state.credited) == ("cancelled", Decimal("22.08"))


def test_cancelling_twice_changes_nothing(placed):
    placed.when(placed.cancel())
    assert placed.when(placed.cancel()) == []


def test_an_order_that_is_not_there_cannot_be_cancelled(story):
    assert refused(story, story.cancel()) == "unknown-order"


def test_lines_come_back_in_parts_until_nothing_is_left(placed):
    (event,) = placed.when(placed.give_back(placed.line(4)))
    assert isinstance(event, LinesReturned)
    assert (event.total, placed.state.status) == (Decimal("10.20"), "partly-returned")
    placed.when(placed.give_back(placed.line(2), placed.line(2, "71053", "3.39")))
    assert (placed.state.status, placed.state.credited) == ("returned", placed.state.total)
    assert refused(placed, placed.cancel()) == "nothing-to-cancel"


def test_a_return_keeps_the_country_of_the_order(placed):
    (event,) = placed.when(placed.give_back(placed.line(1)))
    assert event.country == "United Kingdom"


@pytest.mark.parametrize(
    ("quantity", "sku", "price"),
    [(7, "85123A", "2.55"), (1, "85123A", "2.56"), (1, "22752", "2.55"), (3, "71053", "3.39")],
)
def test_more_than_was_sold_cannot_come_back(placed, quantity, sku, price):
    assert refused(placed, placed.give_back(placed.line(quantity, sku, price))) == "not-ordered"


def test_what_stands_on_several_lines_is_added_up(placed):
    assert refused(placed, placed.give_back(placed.line(4), placed.line(4))) == "not-ordered"
    placed.when(placed.give_back(placed.line(4)))
    assert refused(placed, placed.give_back(placed.line(3))) == "not-ordered"


def test_the_same_price_written_otherwise_is_the_same_price(placed):
    placed.when(placed.give_back(placed.line(1, price="2.5500")))
    assert placed.state.credited == Decimal("2.55")


def test_a_return_in_another_currency_is_refused(placed):
    assert refused(placed, placed.give_back(currency="EUR")) == "wrong-currency"


def test_nothing_comes_back_of_a_cancelled_order(placed):
    placed.when(placed.cancel())
    assert refused(placed, placed.give_back()) == "order-cancelled"


def test_cancelling_the_rest_credits_only_the_rest(placed):
    placed.when(placed.give_back(placed.line(4)))
    (event,) = placed.when(placed.cancel())
    assert event.total == Decimal("11.88")
    assert placed.state.credited == placed.state.total


def test_a_return_that_names_no_known_order_is_a_credit_note(story):
    (event,) = story.when(story.give_back(order="C536379"))
    assert isinstance(event, CreditNoteIssued)
    assert (story.state.status, story.state.credited, story.state.total) == (
        "credit-note",
        Decimal("15.30"),
        Decimal("0.00"),
    )
    assert story.when(story.give_back(order="C536379")) == []
    assert refused(story, story.give_back(story.line(1), order="C536379")) == "already-credited"
    assert refused(story, story.place(order="C536379")) == "already-placed"
    assert refused(story, story.cancel()) == "nothing-to-cancel"


commands = st.lists(st.tuples(st.sampled_from(["place", "cancel", "give_back"]), st.integers(1, 6)), max_size=12)


@given(commands)
def test_no_order_is_ever_credited_more_than_it_was_worth(new_story, told):
    story = new_story()
    story.when(story.place())
    for name, quantity in told:
        command = story.cancel() if name == "cancel" else getattr(story, name)(story.line(quantity))
        try:
            story.when(command)
        except Refused:
            continue
        assert Decimal(0) <= story.state.credited <= story.state.total


@given(commands)
def test_deciding_twice_changes_nothing_but_a_return(new_story, told):
    story = new_story()
    story.when(story.place())
    for name, quantity in told:
        command = story.cancel() if name == "cancel" else getattr(story, name)(story.line(quantity))
        try:
            story.when(command)
            assert name == "give_back" or story.when(command) == []
        except Refused:
            continue
