"""Two versions of one domain side by side, and documents whose examples are what they say."""

import json

import pytest
from jsonschema import Draft202012Validator

from domains.orders import domain
from gateway.openapi import document

pytestmark = pytest.mark.asyncio(loop_scope="module")

STAFF = " ".join((*domain.every_scope, "streams:read"))
AT = "2010-12-01T08:26:00Z"
PRICED = {"sku": "85123A", "quantity": 6, "price": {"amount": "2.55", "currency": "GBP"}}
PLACE = {"customer": "ann", "placed_at": AT, "lines": [PRICED]}


async def test_both_versions_stand_on_one_domain(system):
    status, _, headers = await system.ask("gateway", "POST", "/v2/orders/v-2/place", system.token(STAFF), PLACE)
    assert (status, headers["location"]) == (201, "/v2/orders/v-2/events")
    for version in (1, 2):
        found = await system.ask("gateway", "GET", f"/v{version}/orders/v-2/events", system.token(STAFF))
        (event,) = json.loads(found[1])["events"]
        assert (event["type"], event["data"]["total"], event["data"]["currency"]) == (
            "orders.OrderPlaced.v1",
            "15.30",
            "GBP",
        )
    repeated = {"customer": "ann", "placed_at": AT, "currency": "GBP"} | {
        "lines": [{"sku": "85123A", "quantity": 6, "unit_price": "2.55"}]
    }
    again = await system.ask("gateway", "POST", "/v1/orders/v-2/place", system.token(STAFF), repeated)
    assert (again[0], json.loads(again[1])["version"]) == (201, 1)


async def test_a_row_has_the_form_of_its_version(system):
    first = await system.ask("gateway", "GET", "/v1/orders/order-details/ann-1", system.token(STAFF))
    second = await system.ask("gateway", "GET", "/v2/orders/order-details/ann-1", system.token(STAFF))
    assert json.loads(first[1])["total"] == "0.00"
    assert json.loads(second[1])["total"] == {"amount": "0.00", "currency": ""}
    page = await system.ask("gateway", "GET", "/v2/orders/order-details", system.token(STAFF))
    assert [row["credited"]["amount"] for row in json.loads(page[1])["items"]] == ["0.00", "0.00"]


async def test_a_body_of_no_version_is_refused(system):
    bodies = [
        {**PLACE, "currency": "GBP"},
        {**PLACE, "order": "v-3"},
        {**PLACE, "lines": [PRICED, {**PRICED, "price": {"amount": "1", "currency": "EUR"}}]},
        {**PLACE, "lines": [{**PRICED, "price": {"amount": 1, "currency": "GBP"}}]},
    ]
    for body in bodies:
        status, problem, _ = await system.ask("gateway", "POST", "/v2/orders/v-3/place", system.token(STAFF), body)
        assert (status, json.loads(problem)["type"]) == (422, "/problems/invalid-command")


async def test_a_list_is_sorted_and_cut_to_fields_and_head_says_the_same_without_a_body(system):
    async def asked(query, method="GET"):
        return await system.ask("gateway", method, f"/v2/orders/order-details{query}", system.token(STAFF))

    _, body, _ = await asked("?sort=-customer&fields=order,customer&limit=1")
    first = json.loads(body)
    assert first["items"] == [{"order": "bob-1", "customer": "bob"}]
    _, body, headers = await asked(f"?sort=-customer&fields=total&cursor={first['next']}")
    assert json.loads(body) == {"items": [{"total": {"amount": "0.00", "currency": ""}}], "next": None}
    status, nothing, head = await asked(f"?sort=-customer&fields=total&cursor={first['next']}", "HEAD")
    assert (status, nothing, head["etag"], head["content-length"]) == (200, b"", headers["etag"], str(len(body)))
    _, body, _ = await asked("/ann-1?fields=country")
    assert json.loads(body) == {"country": ""}
    assert (await asked("/ann-1", "HEAD"))[:2] == (200, b"")
    assert (await asked("/none", "HEAD"))[:2] == (404, b"")
    for query, expected in {
        "?sort=total": (422, "invalid-parameter"),
        "?sort=--order": (422, "invalid-parameter"),
        "?fields=order,secret": (422, "invalid-parameter"),
        "?fields=order,order": (422, "invalid-parameter"),
        "?fields=": (422, "invalid-parameter"),
        f"?sort=customer&cursor={first['next']}": (400, "invalid-cursor"),
        f"?cursor={first['next']}": (400, "invalid-cursor"),
        "?cursor=WzFd": (400, "invalid-cursor"),
    }.items():
        status, problem, _ = await asked(query)
        assert (query, status, json.loads(problem)["type"]) == (query, expected[0], f"/problems/{expected[1]}")


async def test_every_answer_of_an_old_version_says_until_when_it_is_served(system):
    asked = (
        ("GET", "/v1/orders/order-details", system.token(STAFF), 200),
        ("GET", "/v1/orders/order-details/none", system.token(STAFF), 404),
        ("GET", "/v1/orders/order-details", None, 401),
        ("POST", "/v1/orders/v-4/cancel", system.token(STAFF), 409),
        ("GET", "/v1/orders/x/y/z", None, 404),
        ("DELETE", "/v1/orders/order-details", system.token(STAFF), 405),
        ("PUT", "/v1/orders/v-4/place", None, 405),
    )
    for method, path, token, status in asked:
        found = await system.ask("gateway", method, path, token, {"cancelled_at": AT})
        assert found[0] == status
        assert found[2]["deprecation"] == "@1793491200"
        assert found[2]["sunset"] == "Sat, 01 Jan 2028 00:00:00 GMT"
        assert f'<{path.replace("/v1/", "/v2/")}>; rel="successor-version"' in found[2]["link"]
        assert 'rel="deprecation"' in found[2]["link"]
    found = await system.ask("gateway", "GET", "/v2/orders/order-details", system.token(STAFF))
    assert {"deprecation", "sunset", "link"}.isdisjoint(name.lower() for name in found[2])
    assert (await system.ask("gateway", "GET", "/v3/orders/order-details", system.token(STAFF)))[0] == 404
    assert (await system.ask("service", "GET", "/v3/orders/order-details", system.token(STAFF)))[0] == 404


async def test_the_examples_of_the_document_are_done_and_answers_are_as_it_says(system):
    described = document({"orders": domain})
    resolver = {"components": described["components"]}
    done = 0
    for version in ("v1", "v2"):
        for command, order in (("place", "whole"), ("cancel", "whole"), ("return", "credit-note")):
            path = f"/{version}/orders/{{id}}/{command}"
            operation = described["paths"][path]["post"]
            example = operation["requestBody"]["content"]["application/json"]["example"]
            place = path.replace("{id}", f"{order}-{version}")
            status, answer, _ = await system.ask("gateway", "POST", place, system.token(STAFF), example)
            assert (path, status) == (path, 201), answer
            Draft202012Validator({"$ref": "#/components/schemas/Done", **resolver}).validate(json.loads(answer))
            done += 1
        for path, methods in described["paths"].items():
            if "get" in methods and path.startswith(f"/{version}/") and answers(path):
                place = path.replace("{id}", "ann-1").replace("{key}", key(path))
                status, answer, _ = await system.ask("gateway", "GET", place, system.token(STAFF))
                schema = methods["get"]["responses"]["200"]["content"]["application/json"]["schema"]
                Draft202012Validator({**schema, **resolver}).validate(json.loads(answer))
                done += 1
    assert done == sum(answers(path) for path in described["paths"])


def answers(path):
    """Whether it does so at once, and without a desk."""
    return not path.endswith("/stream") and not path.startswith("/v1/operations/")


def key(path):
    return "ann" if "customer" in path else "Norway" if "sales" in path else "ann-1"
