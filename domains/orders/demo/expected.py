"""What the views must hold, folded from the input alone: plain rules and sums that share no code with the domain."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from domains.orders.demo.invoices import Invoice, InvoiceLine

Row = dict[str, Any]
Rows = dict[str, Row]

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST = 1_000_000


def acceptable(invoice: Invoice) -> bool:
    """Whether the documented rules of orders accept this invoice."""
    named = ID.fullmatch(invoice.number) and (invoice.customer is None or ID.fullmatch(invoice.customer))
    located = len(invoice.country) <= 64 and not CONTROL.search(invoice.country) and "/" not in invoice.country
    sized = 1 <= len(invoice.lines) <= 2000 and not invoice.unreadable and invoice.at >= EPOCH
    return bool(named and located and sized) and all(sellable(line, invoice.is_credit) for line in invoice.lines)


def sellable(line: InvoiceLine, is_credit: bool) -> bool:
    quantity = -line.quantity if is_credit else line.quantity
    price = line.unit_price
    exact = price.is_finite() and -int(price.as_tuple().exponent) <= 4
    named = 1 <= len(line.sku) <= 64 and len(line.description) <= 200
    printable = not CONTROL.search(line.sku) and not CONTROL.search(line.description.replace("\t", ""))
    return named and printable and exact and 1 <= quantity <= LARGEST and 0 <= price <= LARGEST


@dataclass(frozen=True, slots=True)
class Fact:
    """What happened to the sums: `kind` is one of placed, cancelled, returned."""

    kind: str
    customer: str | None
    country: str
    currency: str
    at: str
    total: Decimal


KINDS = {
    "orders.OrderPlaced.v1": "placed",
    "orders.OrderCancelled.v1": "cancelled",
    "orders.LinesReturned.v1": "returned",
    "orders.CreditNoteIssued.v1": "returned",
}
COUNTED = {"placed": "orders", "cancelled": "cancellations", "returned": "returns"}


def fact(invoice: Invoice) -> Fact:
    country = invoice.country or "Unspecified"
    kind = "returned" if invoice.is_credit else "placed"
    return Fact(kind, invoice.customer, country, invoice.currency, moment(invoice.at), total(invoice))


def fact_of_event(event: Mapping[str, Any]) -> Fact:
    """The fact of an event that the system shows, for orders that are not of this input."""
    data = event["data"]
    amount = Decimal(data["total"])
    kind = KINDS[event["type"]]
    return Fact(kind, data["customer"], data["country"], data["currency"], data["occurred_at"], amount)


def details(invoice: Invoice) -> Row:
    """The row of `order-details`."""
    given, credit = fact(invoice), invoice.is_credit
    sign = -1 if credit else 1
    lines = [
        {
            "sku": line.sku,
            "description": line.description,
            "quantity": sign * line.quantity,
            "unit_price": str(line.unit_price),
        }
        for line in invoice.lines
    ]
    return {
        "order": invoice.number,
        "status": "credit-note" if credit else "placed",
        "customer": invoice.customer,
        "country": given.country,
        "currency": invoice.currency,
        "placed_at": None if credit else given.at,
        "changed_at": given.at,
        "lines": [] if credit else lines,
        "returned": lines if credit else [],
        "total": "0.00" if credit else str(given.total),
        "credited": str(given.total) if credit else "0.00",
        "recipient": None,
    }


def sales_by_country(facts: Iterable[Fact]) -> Rows:
    rows: Rows = {}
    for each in facts:
        row = rows.setdefault(each.country, {"country": each.country, **counters(), "sold": {}, "credited": {}})
        count(row, each, "sold")
    return rows


def customer_history(facts: Iterable[Fact]) -> Rows:
    rows: Rows = {}
    for each in facts:
        if each.customer is None:
            continue
        seen = {"first_seen_at": each.at, "last_seen_at": each.at}
        begun = {"customer": each.customer, **counters(), **seen, "spent": {}, "credited": {}}
        row = rows.setdefault(each.customer, begun)
        count(row, each, "spent")
        row["first_seen_at"] = min(row["first_seen_at"], each.at)
        row["last_seen_at"] = max(row["last_seen_at"], each.at)
    return rows


def counters() -> dict[str, int]:
    return dict.fromkeys(COUNTED.values(), 0)


def count(row: Row, each: Fact, sold: str) -> None:
    row[COUNTED[each.kind]] += 1
    sums = row[sold if each.kind == "placed" else "credited"]
    sums[each.currency] = str(Decimal(sums.get(each.currency, "0")) + each.total)


def total(invoice: Invoice) -> Decimal:
    return abs(sum((line.quantity * line.unit_price for line in invoice.lines), Decimal("0.00")))


def moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
