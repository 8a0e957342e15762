"""What people ask about orders. Each view is a fold over one row."""

from datetime import datetime
from decimal import Decimal
from typing import assert_never

from pydantic import Field

from domains.kernel import Row
from domains.orders.events import CreditNoteIssued, LinesReturned, OrderCancelled, OrderEvent, OrderPlaced
from domains.orders.model import Order, evolve, initial

Money = dict[str, Decimal]


def by_order(event: OrderEvent) -> str:
    return event.order


def order_details(row: Order | None, event: OrderEvent) -> Order:
    """The order itself: the aggregate's own fold, one row for each order or credit note."""
    return evolve(row or initial, event)


class CountrySales(Row):
    """What one country bought and gave back, by currency."""

    country: str
    orders: int = 0
    cancellations: int = 0
    returns: int = 0
    sold: Money = Field(default_factory=dict)
    credited: Money = Field(default_factory=dict)


def by_country(event: OrderEvent) -> str:
    return event.country


def sales_by_country(row: CountrySales | None, event: OrderEvent) -> CountrySales:
    sales = row or CountrySales(country=event.country)
    match event:
        case OrderPlaced():
            return sales.model_copy(update={"orders": sales.orders + 1, "sold": plus(sales.sold, event)})
        case OrderCancelled():
            counted = {"cancellations": sales.cancellations + 1}
        case LinesReturned() | CreditNoteIssued():
            counted = {"returns": sales.returns + 1}
        case _:
            assert_never(event)
    return sales.model_copy(update={**counted, "credited": plus(sales.credited, event)})


class CustomerHistory(Row):
    """What one customer did, over all orders."""

    customer: str
    orders: int = 0
    cancellations: int = 0
    returns: int = 0
    first_seen_at: datetime
    last_seen_at: datetime
    spent: Money = Field(default_factory=dict)
    credited: Money = Field(default_factory=dict)


def by_customer(event: OrderEvent) -> str | None:
    return event.customer


def customer_history(row: CustomerHistory | None, event: OrderEvent) -> CustomerHistory | None:
    if event.customer is None:
        return row
    moment = event.occurred_at
    history = row or CustomerHistory(customer=event.customer, first_seen_at=moment, last_seen_at=moment)
    seen = {
        "first_seen_at": min(history.first_seen_at, moment),
        "last_seen_at": max(history.last_seen_at, moment),
    }
    match event:
        case OrderPlaced():
            counted = {"orders": history.orders + 1, "spent": plus(history.spent, event)}
        case OrderCancelled():
            counted = {
                "cancellations": history.cancellations + 1,
                "credited": plus(history.credited, event),
            }
        case LinesReturned() | CreditNoteIssued():
            counted = {"returns": history.returns + 1, "credited": plus(history.credited, event)}
        case _:
            assert_never(event)
    return history.model_copy(update={**seen, **counted})


def plus(amounts: Money, event: OrderEvent) -> Money:
    total = amounts.get(event.currency, Decimal(0)) + event.total
    return dict(sorted({**amounts, event.currency: total}.items()))
