"""What can be asked of an order."""

from typing import Annotated

from pydantic import Field

from domains.kernel import Command
from domains.orders.values import Country, Currency, CustomerId, Description, Line, Moment, OrderId

Lines = Annotated[tuple[Line, ...], Field(min_length=1, max_length=2000)]

UNSPECIFIED = "Unspecified"


class PlaceOrder(Command):
    order: OrderId
    customer: CustomerId | None = None
    country: Country = UNSPECIFIED
    placed_at: Moment
    currency: Currency
    lines: Lines


class CancelOrder(Command):
    order: OrderId
    cancelled_at: Moment
    reason: Description | None = None


class ReturnLines(Command):
    """Brings lines back. `customer`, `country` and `currency` are for a credit note that names no known order;
    for a known order they are the order's own, and a currency that differs is refused."""

    order: OrderId
    customer: CustomerId | None = None
    country: Country = UNSPECIFIED
    returned_at: Moment
    currency: Currency
    lines: Lines


OrderCommand = PlaceOrder | CancelOrder | ReturnLines
