"""Who may do what: every address of the OpenAPI document, asked by everybody who must not get through.

Each address is asked at the gateway and at the service behind it, which trusts the gateway with nothing.
"""

import json
import time

from domains.orders import domain
from gateway.openapi import document

AT = "2010-12-01T08:26:00Z"
LINE = {"sku": "85123A", "quantity": 6, "unit_price": "2.55"}
STAFF = " ".join((*domain.every_scope, "streams:read"))
DOCUMENT = document({"orders": domain})
ROUTES = [
    (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if "/orders" in path or "/operations" in path  # what is composed is asked of these with the caller's own token
]

STREAMS = {path for _, path, _ in ROUTES if path.endswith("/stream")}


def placed(path, customer):
    """The address of what is this customer's own."""
    if "/operations" in path:
        return path.replace("{id}", "orders-1")
    key = customer if "customer-history" in path else "Norway" if "sales" in path else f"{customer}-1"
    return path.replace("{id}", f"{customer}-1").replace("{key}", key)


def body_of(operation, **other):
    """The example that the document gives for a command."""
    if "requestBody" not in operation:
        return None
    return {**operation["requestBody"]["content"]["application/json"]["example"], **other}


def endless(path):
    return path.endswith("/stream")


def strangers(system, scope):
    """Everybody who must be turned away from an address, with the answers that do so."""
    others = " ".join({*STAFF.split()} - {scope})
    return {
        "nobody": (None, {401}),
        "expired": (system.token(STAFF, exp=int(time.time()) - 60), {401}),
        "another tenant": (system.token(STAFF, tenant="mill"), {401}),
        "no tenant": (system.token(STAFF, tenant=None), {401}),
        "the wrong scopes": (system.token(others), {403}),
        "another owner": (system.token(customer="bob"), {403, 404}),
        "an owner without a name": (system.token(customer=None), {403, 404}),
        "an owner of nothing": (system.token(customer=""), {403, 404}),
        "many owners": (system.token(customer=["ann", "bob"]), {403, 404}),
    }


def leaks(status, expected, content, operation):
    """Whether somebody got what is not his. A list may be shown to anybody who is bound, without what is another's."""
    shown = status == 200 and operation.get("x-owner") and 403 in expected and 404 in expected
    return b"ann" in content if shown else status not in expected


async def test_every_address_is_shut_to_everybody_who_must_not_get_through(system):
    asked, leaked = 0, []
    for method, path, operation in ROUTES:
        ((scope,),) = (one["token"] for one in operation["security"])
        for door in ("gateway", "service")[: 1 if method == "HEAD" else 2]:  # a service is asked with GET instead
            for who, (token, expected) in strangers(system, scope).items():
                if endless(path) and len(expected) > 1:
                    continue  # who is bound to an owner gets a stream of what is his: tests/e2e/test_live.py
                asked += 1
                status, content, _ = await system.ask(door, method, placed(path, "ann"), token, body_of(operation))
                if leaks(status, expected, content, operation):
                    leaked.append((door, method, path, who, status, content))
    assert leaked == []
    doors = sum(1 if method == "HEAD" else 2 for method, _, _ in ROUTES)
    streams = sum(1 if method == "HEAD" else 2 for method, path, _ in ROUTES if endless(path))
    assert asked == doors * 9 - streams * 4
    assert streams == 3 * len(STREAMS)
    assert len(await system.store.read_log()) == 2


async def test_owners_get_their_own_and_staff_gets_all(system):
    for method, path, operation in ROUTES:
        if method == "GET" and not endless(path) and "/operations" not in path:
            own = (await system.ask("gateway", method, placed(path, "ann"), system.token()))[0]
            assert own == (200 if "x-owner" in operation else 403), path
            assert (await system.ask("gateway", method, placed(path, "ann"), system.token(STAFF)))[0] == 200
    cancel = {"cancelled_at": AT}
    assert (await system.ask("gateway", "POST", "/v1/orders/ann-1/cancel", system.token(), cancel))[0] == 201
    machine = system.token(sub="shop", customer=None)
    assert (await system.ask("gateway", "POST", "/v1/orders/bob-1/cancel", machine, cancel))[0] == 201


async def test_a_list_holds_what_is_ones_own_and_a_filter_cannot_widen_it(system):
    items = json.loads((await system.ask("gateway", "GET", "/v1/orders/order-details", system.token()))[1])["items"]
    assert [row["order"] for row in items] == ["ann-1"]
    foreign = await system.ask("gateway", "GET", "/v1/orders/order-details?customer=bob", system.token())
    assert foreign[0] == 403
    everything = await system.ask("gateway", "GET", "/v1/orders/order-details", system.token(STAFF))
    assert len(json.loads(everything[1])["items"]) == 2


async def test_an_order_is_placed_in_ones_own_name_only(system):
    asked = [("ann-2", "bob"), ("ann-2", None), ("bob-1", "ann"), ("bob-1", "bob"), ("ann-2", "ann")]
    answers = []
    for order, customer in asked:
        body = {"customer": customer, "placed_at": AT, "currency": "GBP", "lines": [LINE]}
        answer = await system.ask("gateway", "POST", f"/v1/orders/{order}/place", system.token(), body)
        answers.append(answer[0])
    assert answers == [403, 403, 403, 403, 201]
