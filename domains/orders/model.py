"""The order: what state it is in, and what may happen to it. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal, assert_never

from domains.errors import Refused
from domains.kernel import Row
from domains.orders.commands import CancelOrder, OrderCommand, PlaceOrder, ReturnLines
from domains.orders.events import CreditNoteIssued, LinesReturned, OrderCancelled, OrderEvent, OrderPlaced
from domains.orders.values import Line
from domains.personal import Personal

Status = Literal["unknown", "placed", "partly-returned", "returned", "cancelled", "credit-note"]


class Order(Row):
    """An order, or a credit note without one. `total` is what was sold, `credited` what was given back."""

    order: str
    status: Status
    customer: str | None = None
    country: str = ""
    currency: str = ""
    placed_at: datetime | None = None
    changed_at: datetime | None = None
    lines: tuple[Line, ...] = ()
    returned: tuple[Line, ...] = ()
    total: Decimal = Decimal("0.00")
    credited: Decimal = Decimal("0.00")
    recipient: Personal | None = None


initial = Order(order="", status="unknown")


def evolve(order: Order, event: OrderEvent) -> Order:
    match event:
        case OrderPlaced():
            return Order(
                order=event.order,
                status="placed",
                customer=event.customer,
                country=event.country,
                currency=event.currency,
                placed_at=event.occurred_at,
                changed_at=event.occurred_at,
                lines=event.lines,
                total=event.total,
                recipient=event.recipient,
            )
        case OrderCancelled():
            return changed(order, event, status="cancelled")
        case LinesReturned():
            returned = order.returned + event.lines
            status: Status = "partly-returned" if remaining(order.lines, returned) else "returned"
            return changed(order, event, status=status, returned=returned)
        case CreditNoteIssued():
            return Order(
                order=event.order,
                status="credit-note",
                customer=event.customer,
                country=event.country,
                currency=event.currency,
                changed_at=event.occurred_at,
                returned=order.returned + event.lines,
                credited=order.credited + event.total,
            )
        case _:
            assert_never(event)


def changed(order: Order, event: OrderCancelled | LinesReturned, **fields: object) -> Order:
    update = {"changed_at": event.occurred_at, "credited": order.credited + event.total, **fields}
    return order.model_copy(update=update)


def decide(order: Order, command: OrderCommand) -> Sequence[OrderEvent]:
    match command:
        case PlaceOrder():
            return place(order, command)
        case CancelOrder():
            return cancel(order, command)
        case ReturnLines():
            return give_back(order, command)
        case _:
            assert_never(command)


def place(order: Order, command: PlaceOrder) -> Sequence[OrderEvent]:
    placed = OrderPlaced(
        occurred_at=command.placed_at,
        order=command.order,
        customer=command.customer,
        country=command.country,
        currency=command.currency,
        lines=command.lines,
        total=worth(command.lines),
        recipient=command.recipient,
    )
    if order.status == "unknown":
        return [placed]
    if order == evolve(initial, placed):
        return []
    raise Refused("already-placed", f"the order {command.order} is there already, it is {order.status}")


def cancel(order: Order, command: CancelOrder) -> Sequence[OrderEvent]:
    match order.status:
        case "cancelled":
            return []
        case "unknown":
            raise Refused("unknown-order", f"there is no order {command.order}")
        case "returned" | "credit-note":
            raise Refused("nothing-to-cancel", f"nothing is left of {command.order} to cancel")
    return [
        OrderCancelled(
            occurred_at=command.cancelled_at,
            order=order.order,
            customer=order.customer,
            country=order.country,
            currency=order.currency,
            reason=command.reason,
            total=order.total - order.credited,
        )
    ]


def give_back(order: Order, command: ReturnLines) -> Sequence[OrderEvent]:
    match order.status:
        case "unknown":
            return [credit_note(command)]
        case "credit-note":
            if order == evolve(initial, credit_note(command)):
                return []
            raise Refused("already-credited", f"the credit note {command.order} is there already")
        case "cancelled":
            raise Refused("order-cancelled", f"the order {command.order} was cancelled")
    if command.currency != order.currency:
        raise Refused("wrong-currency", f"the order {command.order} was placed in {order.currency}")
    missing = pieces(command.lines) - remaining(order.lines, order.returned)
    if missing:
        (sku, price), quantity = next(iter(missing.items()))
        raise Refused("not-ordered", f"{quantity} of {sku} at {price} can't come back: so many were not sold")
    return [
        LinesReturned(
            occurred_at=command.returned_at,
            order=order.order,
            customer=order.customer,
            country=order.country,
            currency=order.currency,
            lines=command.lines,
            total=worth(command.lines),
        )
    ]


def credit_note(command: ReturnLines) -> CreditNoteIssued:
    return CreditNoteIssued(
        occurred_at=command.returned_at,
        order=command.order,
        customer=command.customer,
        country=command.country,
        currency=command.currency,
        lines=command.lines,
        total=worth(command.lines),
    )


def worth(lines: Iterable[Line]) -> Decimal:
    return sum((line.quantity * line.unit_price for line in lines), Decimal("0.00"))


def pieces(lines: Iterable[Line]) -> Counter[tuple[str, Decimal]]:
    """How many pieces of each article at each price; one article may stand on several lines."""
    count: Counter[tuple[str, Decimal]] = Counter()
    for line in lines:
        count[line.sku, line.unit_price] += line.quantity
    return count


def remaining(lines: Iterable[Line], returned: Iterable[Line]) -> Counter[tuple[str, Decimal]]:
    """The pieces that have not come back."""
    return pieces(lines) - pieces(returned)
