"""The independent fold and the domain must say the same, on dirty input and on generated one."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from domains.errors import InvalidCommand, Refused
from domains.handler import Request, parse
from domains.orders import domain
from domains.orders.demo import expected
from domains.orders.demo.invoices import Invoice, InvoiceLine

START = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)

lines = st.builds(
    InvoiceLine,
    sku=st.sampled_from(["85123A", "POST", "BANK CHARGES", "", "x" * 65, "a\x00b"]),
    description=st.sampled_from(["WHITE HANGING HEART", "", "x" * 201, "tab\there", "bell\x07"]),
    quantity=st.sampled_from([1, 6, 74215, -1, -6, 0, 10**7]),
    unit_price=st.sampled_from(
        [Decimal(price) for price in ("2.55", "0.001", "0", "-11062.06", "16888.02", "1.23456")]
    ),
)
likely = st.builds(InvoiceLine, st.just("85123A"), st.just(""), st.sampled_from([1, 6, -6]), st.just(Decimal("2.55")))
invoices = st.builds(
    Invoice,
    number=st.sampled_from(["536365", "C536379", "A563185", "a b", "", "x" * 65]),
    at=st.integers(0, 1000).map(lambda minutes: START + timedelta(minutes=minutes)),
    currency=st.just("GBP"),
    country=st.sampled_from(["United Kingdom", "EIRE", "", "a/b", "x" * 65]),
    customer=st.sampled_from([None, "17850", "not a customer"]),
    lines=st.lists(likely, min_size=1, max_size=4) | st.lists(lines, max_size=3),
)


def decided(invoice):
    """The domain's events for an invoice, or None if it refuses."""
    try:
        command = parse(domain, Request(invoice.number, invoice.command, invoice.body()))
        return domain.decider.decide(domain.decider.initial, command)
    except (InvalidCommand, Refused):
        return None


def folded(view, events):
    rows = {}
    for event in events:
        key = view.key_of(event)
        if key is not None:
            rows[key] = view.project(rows.get(key), event)
    return {key: json.loads(row.model_dump_json()) for key, row in rows.items() if row is not None}


@given(invoices)
def test_both_accept_and_refuse_the_same(invoice):
    assert expected.acceptable(invoice) == (decided(invoice) is not None)


@given(st.lists(invoices, max_size=12, unique_by=lambda invoice: invoice.number))
def test_both_fold_the_same_rows(given_invoices):
    accepted = [invoice for invoice in given_invoices if expected.acceptable(invoice)]
    events = [event for invoice in accepted for event in decided(invoice)]
    facts = [expected.fact(invoice) for invoice in accepted]
    details, countries, customers = (folded(view, events) for view in domain.views)
    assert details == {invoice.number: expected.details(invoice) for invoice in accepted}
    assert countries == expected.sales_by_country(facts)
    assert customers == expected.customer_history(facts)
