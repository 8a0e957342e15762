"""Orders: placed, cancelled, returned."""

from domains.admin import VERBS
from domains.kernel import Composition, Decider, Domain, Part, View
from domains.orders.api import v1, v2
from domains.orders.commands import CancelOrder, PlaceOrder, ReturnLines
from domains.orders.events import CreditNoteIssued, LinesReturned, OrderCancelled, OrderPlaced
from domains.orders.model import Order, decide, evolve, initial
from domains.orders.views import (
    CountrySales,
    CustomerHistory,
    by_country,
    by_customer,
    by_order,
    customer_history,
    order_details,
    sales_by_country,
)

OWNER = "customer"
FILTERS = ("status", OWNER, "country")

domain = Domain(
    name="orders",
    identity="order",
    commands={"place": PlaceOrder, "cancel": CancelOrder, "return": ReturnLines},
    events={
        "orders.OrderPlaced.v1": OrderPlaced,
        "orders.OrderCancelled.v1": OrderCancelled,
        "orders.LinesReturned.v1": LinesReturned,
        "orders.CreditNoteIssued.v1": CreditNoteIssued,
    },
    decider=Decider(initial, evolve, decide),
    views=(
        View("order-details", Order, "order", by_order, order_details, FILTERS, owner=OWNER, version=2),
        View("sales-by-country", CountrySales, "country", by_country, sales_by_country, shared=True),
        View("customer-history", CustomerHistory, OWNER, by_customer, customer_history, shared=True, owner=OWNER),
    ),
    compositions=(
        Composition(
            "customers",
            "overview",
            (Part("history", "orders", "customer-history"), Part("orders", "orders", "order-details", "customer")),
        ),
    ),
    admin=dict.fromkeys(VERBS, "orders:admin"),
    owner=OWNER,
    versions=(v1, v2),
)

__all__ = ["domain"]
