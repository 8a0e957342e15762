"""What a domain declares for the front door makes sense, or it is refused by name."""

from dataclasses import replace

import pytest

from domains.errors import NotADomain
from domains.kernel import Composition, Part
from domains.orders import domain
from domains.orders.commands import PlaceOrder

PART = Part("history", "orders", "customer-history")


def composed(*parts, things="customers", name="overview"):
    return {"compositions": (Composition(things, name, parts),)}


def test_parts_of_domains_that_may_not_be_there_are_allowed():
    assert replace(domain, **composed(PART, Part("balance", "accounts", "owner-balance", "owner")))


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ({"needs_version": frozenset({"teleport"})}, "teleport is no command"),
        ({"admin": {"teleport": "orders:admin"}}, "teleport is no verb and no command"),
        ({"admin": {"retry": "admin"}}, "'admin' is no scope"),
        ({"admin": {"retry": "orders:write"}}, "'orders:write' is not for operators alone"),
        ({"commands": {"retry": PlaceOrder}, "admin": {"retry": "orders:admin"}}, "'retry' is a command and a verb"),
        (composed(Part("x", "orders", "nothing")), "'x' is composed of what no view has"),
        (composed(Part("x", "orders", "order-details", "currency")), "'x' is composed of what no view has"),
    ],
)
def test_what_is_not_there_is_named(declared, why):
    with pytest.raises(NotADomain, match=why):
        replace(domain, **declared)


@pytest.mark.parametrize(
    ("parts", "names"),
    [((), {}), ((PART, PART), {}), ((PART,), {"things": "Customers"}), ((PART,), {"name": "a/b"})],
)
def test_a_composition_has_parts_and_names(parts, names):
    with pytest.raises(NotADomain):
        composed(*parts, **names)


def test_the_gateways_own_address_is_no_domain():
    events = {name.replace("orders.", "operations."): model for name, model in domain.events.items()}
    with pytest.raises(NotADomain, match="address of the gateway's own"):
        replace(domain, name="operations", events=events, upcasters=(), compositions=())
