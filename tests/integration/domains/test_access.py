"""Who may do what: every address of the OpenAPI document, asked by everybody who must not get through.

Each address is asked at the gateway and at the service behind it, which trusts the gateway with nothing.
"""

import asyncio
import json
import time

import pytest
import pytest_asyncio

from domains.orders import domain
from gateway.openapi import document

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT = "2010-12-01T08:26:00Z"
LINE = {"sku": "85123A", "quantity": 6, "unit_price": "2.55"}
STAFF = " ".join((*domain.every_scope, "streams:read"))
DOCUMENT = document({"orders": domain})
ROUTES = [
    (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
OTHERS_NOTHING = {"forbidden", "missing"}


def composed(path):
    return path.split("/")[2] == "customers"


def accepted(path):
    """Whether an address is of a command that was accepted for later: it is its sender's, whoever else may what."""
    return path.startswith("/v1/operations/")


def endless(path, operation):
    """Who is bound to an owner gets a stream of what is his: tests/e2e/test_live.py."""
    return path.endswith("/stream") and "x-owner" in operation


def doors(method, path):
    """A service is asked with GET instead of HEAD, and composes nothing."""
    return ("gateway",) if method == "HEAD" or composed(path) else ("gateway", "service")


def body_of(operation, **other):
    """The example that the document gives for a command."""
    if "requestBody" not in operation:
        return None
    return {**operation["requestBody"]["content"]["application/json"]["example"], **other}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def placed(system):
    """Gives the address of what is this customer's own, with Ann's one command that is to be answered later."""
    prefer = {"prefer": "respond-async", "idempotency-key": '"of-ann"'}
    cancel = {"cancelled_at": AT}
    given = await system.ask("gateway", "POST", "/v1/orders/ann-1/cancel", system.token(), cancel, **prefer)
    operation = json.loads(given[1])["id"]

    def address(path, customer="ann"):
        if accepted(path):
            return path.replace("{id}", operation)
        key = customer if "customer" in path else "Norway" if "sales" in path else f"{customer}-1"
        return path.replace("{id}", f"{customer}-1").replace("{key}", key)

    return address


@pytest.fixture(scope="module")
def strangers(system):
    """Gives everybody who must be turned away from a scope's addresses, with the answers that do so; each once."""
    common = {
        "nobody": (None, {401}),
        "expired": (system.token(STAFF, exp=int(time.time()) - 60), {401}),
        "another tenant": (system.token(STAFF, tenant="mill"), {401}),
        "no tenant": (system.token(STAFF, tenant=None), {401}),
        "another owner": (system.token(sub="u-2", customer="bob"), {403, 404}),
        "an owner without a name": (system.token(sub="u-2", customer=None), {403, 404}),
        "an owner of nothing": (system.token(sub="u-2", customer=""), {403, 404}),
        "many owners": (system.token(sub="u-2", customer=["ann", "bob"]), {403, 404}),
    }
    scopes = {scope for *_, operation in ROUTES for (one,) in [operation["security"]] for scope in one["token"]}
    wrong = {scope: system.token(" ".join({*STAFF.split()} - {scope})) for scope in scopes}
    return lambda scope: common | {"the wrong scopes": (wrong[scope], {403})}


def parts_of(content):
    return {part["status"] for part in json.loads(content)["parts"].values()}


def leaks(status, expected, content, path, operation):
    """Whether somebody got what is not his.

    Anybody who is bound may be shown a list, without what is another's, and a composition, without its parts.
    """
    if status != 200 or 404 not in expected:
        return status not in expected
    if composed(path):
        return bool(content) and not parts_of(content) <= OTHERS_NOTHING
    return b"ann" in content if operation.get("x-owner") else True


async def test_every_address_is_shut_to_everybody_who_must_not_get_through(system, placed, strangers):
    asked, leaked, before = 0, [], len(await system.store.read_log())

    async def ask(door, route, stranger):
        (method, path, operation), (who, token, expected) = route, stranger
        status, content, _ = await system.ask(door, method, placed(path), token, body_of(operation))
        if leaks(status, expected, content, path, operation):
            leaked.append((door, method, path, who, status, content))

    for method, path, operation in ROUTES:
        ((scope,),) = (one["token"] for one in operation["security"])
        those = [
            (who, token, expected)
            for who, (token, expected) in strangers(scope).items()
            if not (endless(path, operation) and 404 in expected)
        ]
        for door in doors(method, path):
            await asyncio.gather(*(ask(door, (method, path, operation), stranger) for stranger in those))
            asked += len(those)
    assert leaked == []
    assert asked == sum(
        len(doors(method, path)) * (5 if endless(path, operation) else 9) for method, path, operation in ROUTES
    )
    assert len(await system.store.read_log()) == before


async def test_owners_get_their_own_and_staff_gets_all(system, placed):
    owner, staff = system.token(), system.token(STAFF, sub="u-3")
    for method, path, operation in ROUTES:
        if method == "GET" and not path.endswith("/stream"):
            own, content, _ = await system.ask("gateway", method, placed(path), owner)
            assert own == (200 if "x-owner" in operation or composed(path) or accepted(path) else 403), path
            assert not composed(path) or parts_of(content) == {"ok"}
            everything = await system.ask("gateway", method, placed(path), staff)
            assert everything[0] == (404 if accepted(path) else 200), path
            assert not composed(path) or parts_of(everything[1]) == {"ok"}
    cancel = {"cancelled_at": AT}
    assert (await system.ask("gateway", "POST", "/v1/orders/ann-1/cancel", owner, cancel))[0] == 201
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
