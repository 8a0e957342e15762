"""Compares the views with the independent fold of the input."""

from collections.abc import Iterable
from itertools import islice
from typing import Any
from urllib.parse import quote

from domains.orders.demo import expected
from domains.orders.demo.expected import Fact, Row, Rows
from domains.orders.demo.invoices import Invoice
from domains.orders.demo.load import Gateway, Outcome

SHOWN = 5


async def differences(gateway: Gateway, invoices: Iterable[Invoice], outcome: Outcome) -> list[str]:
    """What is not as it must be, in words; nothing when everything is.

    Orders that are in the system but not in this input are taken from their own events, and added to the sums.
    """
    accepted = {invoice.number: invoice for invoice in invoices if expected.acceptable(invoice)}
    found = decisions(accepted, outcome)
    held = {row["order"]: row async for row in gateway.rows("order-details")}
    wanted = {number: expected.details(invoice) for number, invoice in accepted.items()}
    found += compare("order-details", wanted, {number: row for number, row in held.items() if number in wanted})
    facts = [expected.fact(invoice) for invoice in accepted.values()]
    for number in held.keys() - wanted.keys():
        facts += await foreign(gateway, number)
    for view, fold in (
        ("sales-by-country", expected.sales_by_country),
        ("customer-history", expected.customer_history),
    ):
        key = "country" if view == "sales-by-country" else "customer"
        found += compare(view, fold(facts), {row[key]: row async for row in gateway.rows(view)})
    return found


def decisions(accepted: dict[str, Invoice], outcome: Outcome) -> list[str]:
    wrongly_refused = accepted.keys() - outcome.accepted.keys()
    wrongly_accepted = outcome.accepted.keys() - accepted.keys()
    return [f"{number} was refused, but should not have been" for number in islice(sorted(wrongly_refused), SHOWN)] + [
        f"{number} was accepted, but should not have been" for number in islice(sorted(wrongly_accepted), SHOWN)
    ]


async def foreign(gateway: Gateway, number: str) -> list[Fact]:
    facts: list[Fact] = []
    after = 0
    while True:
        _, page, _ = await gateway.ask("GET", f"/v1/orders/{quote(number, safe='')}/events?after={after}")
        if not page["events"]:
            return facts
        facts += [expected.fact_of_event(event) for event in page["events"]]
        after = page["events"][-1]["version"]


def compare(view: str, wanted: Rows, held: Rows) -> list[str]:
    found = [f"{view}: {key} is missing" for key in islice(sorted(wanted.keys() - held.keys()), SHOWN)]
    found += [f"{view}: {key} should not be there" for key in islice(sorted(held.keys() - wanted.keys()), SHOWN)]
    wrong = (key for key in wanted.keys() & held.keys() if wanted[key] != held[key])
    return found + [difference(view, key, wanted[key], held[key]) for key in islice(wrong, SHOWN)]


def difference(view: str, key: str, wanted: Row, held: Row) -> str:
    column = next(name for name in {**wanted, **held} if wanted.get(name) != held.get(name))
    return f"{view}: {key}.{column} is {short(held.get(column))}, should be {short(wanted.get(column))}"


def short(value: Any) -> str:
    return repr(value)[:120]
