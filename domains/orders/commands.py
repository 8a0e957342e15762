"""What can be asked of an order."""

from typing import Annotated

from pydantic import Field

from domains.kernel import Command, example
from domains.orders.values import Country, Currency, CustomerId, Description, Line, Moment, OrderId
from domains.personal import Of, Personal

LINE = {"sku": "85123A", "description": "T-LIGHT HOLDER", "quantity": 6, "unit_price": "2.55"}

RECIPIENT = "Ann Example, 1 Mill Lane, Leat"

Lines = Annotated[tuple[Line, ...], Field(min_length=1, max_length=2000)]

UNSPECIFIED = "Unspecified"


class PlaceOrder(Command):
    """Places an order. Whoever gets the goods is forgotten with the customer, or with the order that names none."""

    model_config = example(
        {
            "customer": "17850",
            "recipient": RECIPIENT,
            "placed_at": "2010-12-01T08:26:00Z",
            "currency": "GBP",
            "lines": [LINE],
        }
    )

    order: OrderId
    customer: CustomerId | None = None
    recipient: Annotated[Personal, Of("customer")] | None = None
    country: Country = UNSPECIFIED
    placed_at: Moment
    currency: Currency
    lines: Lines


class CancelOrder(Command):
    model_config = example({"cancelled_at": "2010-12-02T09:00:00Z", "reason": "ordered twice"})

    order: OrderId
    cancelled_at: Moment
    reason: Description | None = None


class ReturnLines(Command):
    """Brings lines back. `customer`, `country` and `currency` are for a credit note that names no known order;
    for a known order they are the order's own, and a currency that differs is refused."""

    model_config = example({"returned_at": "2010-12-09T10:15:00Z", "currency": "GBP", "lines": [LINE]})

    order: OrderId
    customer: CustomerId | None = None
    country: Country = UNSPECIFIED
    returned_at: Moment
    currency: Currency
    lines: Lines


OrderCommand = PlaceOrder | CancelOrder | ReturnLines
