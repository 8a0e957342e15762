"""What both readers give: invoices, each one command."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    sku: str
    description: str
    quantity: int
    unit_price: Decimal


@dataclass(slots=True)
class Invoice:
    """An invoice as the file has it. `unreadable` says of lines of it, by number, why they could not be read."""

    number: str
    at: datetime
    currency: str
    country: str
    customer: str | None
    lines: list[InvoiceLine] = field(default_factory=list)
    unreadable: dict[int, str] = field(default_factory=dict)

    @property
    def is_credit(self) -> bool:
        """A number that begins with C is a cancellation or return, with negative quantities."""
        return self.number.startswith("C")

    @property
    def command(self) -> str:
        return "return" if self.is_credit else "place"

    def body(self) -> bytes:
        """The command's body. What the domain will refuse is sent all the same, so that the domain says why."""
        moment = "returned_at" if self.is_credit else "placed_at"
        sign = -1 if self.is_credit else 1
        fields: dict[str, Any] = {"customer": self.customer} if self.customer else {}
        fields |= {"country": self.country} if self.country else {}
        fields |= {moment: self.at.isoformat(), "currency": self.currency}
        fields["lines"] = [
            {
                "sku": line.sku,
                "description": line.description,
                "quantity": sign * line.quantity,
                "unit_price": str(line.unit_price),
            }
            for line in self.lines
        ]
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
