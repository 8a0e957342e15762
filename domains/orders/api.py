"""The second version of the addresses of orders: money says its currency wherever it stands.

The first one has amounts that only mean something beside a currency elsewhere in the body. Pure: it changes forms, and
decides nothing.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domains.kernel import Command, Form, Row, Version, example
from domains.orders.commands import UNSPECIFIED, PlaceOrder, ReturnLines
from domains.orders.model import Order, Status
from domains.orders.values import (
    Country,
    Currency,
    CustomerId,
    Description,
    Line,
    Moment,
    OrderId,
    Price,
    Quantity,
    Sku,
)
from domains.orders.views import CountrySales, CustomerHistory
from domains.personal import Of, Personal

LINE = {
    "sku": "85123A",
    "description": "T-LIGHT HOLDER",
    "quantity": 6,
    "price": {"amount": "2.55", "currency": "GBP"},
}


class Money(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    amount: Decimal
    currency: str


class PriceOf(BaseModel):
    """What one piece costs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    amount: Price
    currency: Currency


class PricedLine(BaseModel):
    """Some pieces of one article, each at `price`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sku: Sku
    description: Description = ""
    quantity: Quantity
    price: PriceOf


class Priced(Command):
    lines: Annotated[tuple[PricedLine, ...], Field(min_length=1, max_length=2000)]

    @model_validator(mode="after")
    def _one_currency(self) -> Self:
        if len({line.price.currency for line in self.lines}) > 1:
            raise ValueError("all lines of an order have the same currency")
        return self

    def plain(self) -> dict[str, Any]:
        """The fields of the first version."""
        lines = tuple(
            Line(sku=one.sku, description=one.description, quantity=one.quantity, unit_price=one.price.amount)
            for one in self.lines
        )
        return {**vars(self), "lines": lines, "currency": self.lines[0].price.currency}


class PlaceOrderV2(Priced):
    model_config = example({"customer": "17850", "placed_at": "2010-12-01T08:26:00Z", "lines": [LINE]})

    order: OrderId
    customer: CustomerId | None = None
    recipient: Annotated[Personal, Of("customer")] | None = None
    country: Country = UNSPECIFIED
    placed_at: Moment


class ReturnLinesV2(Priced):
    """Brings lines back. `customer` and `country` are for a credit note that names no known order."""

    model_config = example({"returned_at": "2010-12-09T10:15:00Z", "lines": [LINE]})

    order: OrderId
    customer: CustomerId | None = None
    country: Country = UNSPECIFIED
    returned_at: Moment


class LineV2(BaseModel):
    model_config = ConfigDict(frozen=True)

    sku: str
    description: str
    quantity: int
    price: Money


class OrderV2(Row):
    """An order, or a credit note without one. `total` is what was sold, `credited` what was given back."""

    order: str
    status: Status
    customer: str | None
    country: str
    placed_at: datetime | None
    changed_at: datetime | None
    lines: tuple[LineV2, ...]
    returned: tuple[LineV2, ...]
    total: Money
    credited: Money
    recipient: Personal | None


class CountrySalesV2(Row):
    """What one country bought and gave back."""

    country: str
    orders: int
    cancellations: int
    returns: int
    sold: tuple[Money, ...]
    credited: tuple[Money, ...]


class CustomerHistoryV2(Row):
    """What one customer did, over all orders."""

    customer: str
    orders: int
    cancellations: int
    returns: int
    first_seen_at: datetime
    last_seen_at: datetime
    spent: tuple[Money, ...]
    credited: tuple[Money, ...]


def place_order(body: PlaceOrderV2) -> PlaceOrder:
    return PlaceOrder(**body.plain())


def return_lines(body: ReturnLinesV2) -> ReturnLines:
    return ReturnLines(**body.plain())


def order(row: Order) -> OrderV2:
    money = {name: Money(amount=getattr(row, name), currency=row.currency) for name in ("total", "credited")}
    lines = {name: tuple(priced(getattr(row, name), row.currency)) for name in ("lines", "returned")}
    return OrderV2(**kept(row, OrderV2) | money | lines)


def country_sales(row: CountrySales) -> CountrySalesV2:
    return CountrySalesV2(**kept(row, CountrySalesV2) | {"sold": amounts(row.sold), "credited": amounts(row.credited)})


def customer_history(row: CustomerHistory) -> CustomerHistoryV2:
    money = {"spent": amounts(row.spent), "credited": amounts(row.credited)}
    return CustomerHistoryV2(**kept(row, CustomerHistoryV2) | money)


def kept(row: Row, form: type[Row]) -> dict[str, Any]:
    """The fields of a row that another form has too."""
    return {name: getattr(row, name) for name in type(row).model_fields if name in form.model_fields}


def priced(lines: Iterable[Line], currency: str) -> Iterable[LineV2]:
    for line in lines:
        price = Money(amount=line.unit_price, currency=currency)
        yield LineV2(sku=line.sku, description=line.description, quantity=line.quantity, price=price)


def amounts(money: Mapping[str, Decimal]) -> tuple[Money, ...]:
    return tuple(Money(amount=amount, currency=currency) for currency, amount in money.items())


v1 = Version(1, deprecated=datetime(2026, 11, 1, tzinfo=UTC), sunset=datetime(2028, 1, 1, tzinfo=UTC))
v2 = Version(
    2,
    commands={"place": Form(PlaceOrderV2, place_order), "return": Form(ReturnLinesV2, return_lines)},
    views={
        "order-details": Form(OrderV2, order),
        "sales-by-country": Form(CountrySalesV2, country_sales),
        "customer-history": Form(CustomerHistoryV2, customer_history),
    },
)
