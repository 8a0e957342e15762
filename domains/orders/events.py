"""What has happened to orders. The type names and fields recorded here are promises: add, never change."""

from domains.kernel import Event
from domains.orders.values import Amount, Country, Currency, CustomerId, Line, OrderId
from domains.personal import Personal


class OrderPlaced(Event):
    order: OrderId
    customer: CustomerId | None
    country: Country
    currency: Currency
    lines: tuple[Line, ...]
    total: Amount
    recipient: Personal | None = None


class OrderCancelled(Event):
    """The whole remaining order is called off; `total` is what its lines were still worth."""

    order: OrderId
    customer: CustomerId | None
    country: Country
    currency: Currency
    reason: str | None
    total: Amount


class LinesReturned(Event):
    """Some lines of a known order came back; `total` is what is credited for them."""

    order: OrderId
    customer: CustomerId | None
    country: Country
    currency: Currency
    lines: tuple[Line, ...]
    total: Amount


class CreditNoteIssued(Event):
    """Goods came back under a credit note that names no known order."""

    order: OrderId
    customer: CustomerId | None
    country: Country
    currency: Currency
    lines: tuple[Line, ...]
    total: Amount


OrderEvent = OrderPlaced | OrderCancelled | LinesReturned | CreditNoteIssued
