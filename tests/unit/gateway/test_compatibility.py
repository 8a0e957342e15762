"""Breaking changes are found, safe ones pass, and the addresses of today keep what was promised."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from domains.discovery import discover
from gateway.commands import app, text
from gateway.compatibility import changes
from gateway.documents import numbers
from gateway.openapi import document

FOLDER = Path(__file__).parents[2] / "api"
PLACE, ROW, PAGE = "/v2/orders/{id}/place", "/v2/orders/order-details/{key}", "/v2/orders/order-details"
OLD = json.loads(json.dumps(document(discover(), 2)))


def schema(new, name):
    return new["components"]["schemas"][f"orders.v2.{name}"]


def parameter(new, path, name):
    (found,) = (one for one in new["paths"][path]["get"]["parameters"] if one["name"] == name)
    return found


def add_parameter(new, required):
    new["paths"][PAGE]["get"]["parameters"].append(
        {"name": "year", "in": "query", "required": required, "schema": {"type": "string"}}
    )


def page_of(new):
    return new["paths"][PAGE]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["properties"]


def row_of(new):
    return page_of(new)["items"]["items"]


def next_of(new):
    assert page_of(new)["next"]["type"] == ["string", "null"]
    return page_of(new)["next"]


def secured(new, security):
    new["paths"][PAGE]["get"].update(security=security)


TENANT = {"name": "X-Tenant", "in": "header", "required": True, "schema": {"type": "string"}}
BREAKING = {
    "an address is gone": lambda new: new["paths"].pop(PAGE),
    "a method is gone": lambda new: new["paths"][PLACE].pop("post"),
    "a parameter is gone": lambda new: new["paths"][PAGE]["get"]["parameters"].pop(0),
    "a parameter must be there": lambda new: add_parameter(new, True),
    "a parameter became necessary": lambda new: parameter(new, PAGE, "status").update(required=True),
    "a parameter takes less": lambda new: parameter(new, PAGE, "limit")["schema"].update(maximum=100),
    "a parameter is written otherwise": lambda new: parameter(new, PAGE, "fields").update(explode=True),
    "a field of a body is gone": lambda new: schema(new, "PlaceOrderV2")["properties"].pop("country"),
    "a new field of a body must be there": lambda new: (
        schema(new, "PlaceOrderV2")["properties"].update(terms={"type": "string"}),
        schema(new, "PlaceOrderV2")["required"].append("terms"),
    ),
    "a field of a body became necessary": lambda new: schema(new, "PlaceOrderV2")["required"].append("country"),
    "a field of a body has another type": lambda new: schema(new, "PricedLine")["properties"].update(
        quantity={"type": "string"}
    ),
    "a field of a body takes less": lambda new: schema(new, "PricedLine")["properties"]["quantity"].update(maximum=9),
    "a value can't be said any more": lambda new: schema(new, "PriceOf")["properties"]["currency"]["enum"].remove(
        "GBP"
    ),
    "a field of an answer is gone": lambda new: (
        schema(new, "OrderV2")["properties"].pop("total"),
        schema(new, "OrderV2")["required"].remove("total"),
    ),
    "a field of an answer may be missing": lambda new: schema(new, "OrderV2")["required"].remove("total"),
    "a field of an answer has another type": lambda new: schema(new, "OrderV2")["properties"].update(
        country={"type": "integer"}
    ),
    "a field of an answer may be nothing": lambda new: schema(new, "OrderV2")["properties"].update(
        country={"type": ["string", "null"]}
    ),
    "an answer has values that nobody knows": lambda new: schema(new, "OrderV2")["properties"]["status"]["enum"].append(
        "lost"
    ),
    "another status is answered": lambda new: new["paths"][PLACE]["post"]["responses"].update(
        {"200": new["paths"][PLACE]["post"]["responses"].pop("201")}
    ),
    "a header is no longer answered": lambda new: new["paths"][PLACE]["post"]["responses"]["201"]["headers"].pop(
        "ETag"
    ),
    "an answer has a form that nobody asked for": lambda new: row_of(new)["anyOf"].append({"type": "string"}),
    "a form of an answer needs a parameter that was there": lambda new: row_of(new)["anyOf"].append(
        {"type": "string", "x-asked-with": "limit"}
    ),
    "a status is answered that nobody expects": lambda new: new["paths"][PLACE]["post"]["responses"].update(
        {"203": {"description": "", "content": {}}}
    ),
    "an error has another form": lambda new: new["paths"][PLACE]["post"]["responses"].update(
        {"418": {"description": "", "content": {"application/problem+json": {"schema": {"type": "string"}}}}}
    ),
    "another scope is needed": lambda new: new["paths"][PAGE]["get"].update(security=[{"token": ["orders:audit"]}]),
    "a scope more is needed": lambda new: secured(new, [{"token": ["orders:read", "orders:audit"]}]),
    "another scheme is needed besides": lambda new: secured(new, [{"token": ["orders:read"], "key": []}]),
    "a token is shown in another way": lambda new: new["components"]["securitySchemes"]["token"].update(scheme="dpop"),
    "the server is another": lambda new: new.update(servers=[{"url": "https://mill.example/"}]),
    "the base path is another": lambda new: new.update(servers=[{"url": "/api"}]),
    "the base path of one address is another": lambda new: new["paths"][PAGE].update(servers=[{"url": "/api"}]),
    "that of one operation is": lambda new: new["paths"][PAGE]["get"].update(servers=[{"url": "/api"}]),
    "a header must be sent": lambda new: new["paths"][PLACE]["post"]["parameters"].append(TENANT),
    "a header must be sent to all of an address": lambda new: new["paths"][PLACE].update(parameters=[TENANT]),
    "a header that could be sent must be": lambda new: new["paths"][PLACE]["post"]["parameters"].append(
        {**TENANT, "name": "idempotency-key"}
    ),
    "a header of an answer has another form": lambda new: new["components"]["headers"]["Retry-After"].update(
        schema={"type": "string"}
    ),
    "an operation has another name": lambda new: new["paths"][PAGE]["get"].update(operationId="orders.list"),
    "a body has another media type": lambda new: new["paths"][PLACE]["post"]["requestBody"].update(
        content={"application/xml": {"schema": {}}}
    ),
}
ASKED = {"x-asked-with": "year"}
SAFE = {
    "nothing": lambda _: None,
    "a new address": lambda new: new["paths"].update({"/v2/orders/new": new["paths"][PAGE]}),
    "a new parameter": lambda new: add_parameter(new, False),
    "a parameter takes more": lambda new: parameter(new, PAGE, "limit")["schema"].update(maximum=1000),
    "a new field of a body": lambda new: schema(new, "PlaceOrderV2")["properties"].update(terms={"type": "string"}),
    "a field of a body takes more": lambda new: schema(new, "PricedLine")["properties"]["quantity"].pop("maximum"),
    "a new value": lambda new: schema(new, "PriceOf")["properties"]["currency"]["enum"].append("PLN"),
    "a new field of an answer": lambda new: (
        schema(new, "OrderV2")["properties"].update(weight={"type": "integer"}),
        schema(new, "OrderV2")["required"].append("weight"),
    ),
    "a field of an answer is always there": lambda new: next_of(new).update(type="string"),
    "a form of an answer, and the parameter that asks for it": lambda new: (
        add_parameter(new, False),
        row_of(new)["anyOf"].append({"type": "string", **ASKED}),
        new["paths"][PAGE]["get"]["responses"].update({"203": {"description": "", **ASKED}}),
    ),
    "an error is told by itself": lambda new: new["paths"][PLACE]["post"]["responses"].update(
        {"418": new["paths"][PLACE]["post"]["responses"]["default"]}
    ),
    "a header may be sent": lambda new: new["paths"][PLACE]["post"]["parameters"].append({**TENANT, "required": False}),
    "a header is written otherwise": lambda new: new["paths"][PLACE]["post"]["responses"]["201"]["headers"].update(
        etag=new["paths"][PLACE]["post"]["responses"]["201"]["headers"].pop("ETag")
    ),
    "another scope is enough, too": lambda new: secured(new, [{"token": ["orders:audit"]}, {"token": ["orders:read"]}]),
    "no scope is needed": lambda new: secured(new, [{"token": []}]),
    "no token is needed": lambda new: secured(new, []),
    "another server": lambda new: new.update(servers=[{"url": "/"}, {"url": "/api"}]),
    "other words": lambda new: new["paths"][PAGE]["get"].update(summary="Orders", description="All of them"),
}


@pytest.mark.parametrize("name", BREAKING)
def test_a_breaking_change_is_found(name):
    new = deepcopy(OLD)
    BREAKING[name](new)
    assert any(change.breaking for change in changes(OLD, new))


ANY, BOTH = [{"token": ["a"]}, {"token": ["b"]}], [{"token": ["a", "b"]}]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([], [{"token": []}], ["nothing is not enough any more"]),
        ([{}], [{"token": ["a"]}], ["nothing is not enough any more"]),
        (ANY, BOTH, ["a token a is not enough any more", "a token b is not enough any more"]),
        (ANY, ANY[:1], ["a token b is not enough any more"]),
        (BOTH, ANY, []),
    ],
)
@pytest.mark.parametrize("everywhere", [False, True])
def test_who_was_let_in_must_be_let_in_by_what_he_has(before, after, said, everywhere):
    """`everywhere`: demanded of all operations that demand nothing else."""
    both = []
    for security in (before, after):
        told = deepcopy(OLD)
        operation = told["paths"][PLACE]["post"]
        operation.pop("security")
        (told if everywhere else operation)["security"] = security
        both.append(told)
    assert [(one.path, one.what) for one in changes(*both) if one.breaking] == [
        (f"POST {PLACE}", what) for what in said
    ]


@pytest.mark.parametrize("name", SAFE)
def test_a_safe_change_is_none_that_breaks(name):
    new = deepcopy(OLD)
    SAFE[name](new)
    assert [change for change in changes(OLD, new) if change.breaking] == []


def test_there_are_enough_kinds():
    assert len(BREAKING) >= 12


@pytest.mark.parametrize("number", numbers(discover()))
def test_todays_addresses_are_those_that_were_recorded(number):
    """After a change that is meant: `headrace api record`, and the change is in the review."""
    recorded = (FOLDER / f"v{number}.json").read_text(encoding="utf-8")
    assert [change for change in changes(json.loads(recorded), document(discover(), number)) if change.breaking] == []
    assert text(document(discover(), number)) == recorded


def test_the_command_says_what_breaks(tmp_path):
    runner = CliRunner()
    assert runner.invoke(app, ["api", "check", "--folder", str(tmp_path)]).exit_code == 3
    runner.invoke(app, ["api", "record", "--folder", str(tmp_path)])
    assert runner.invoke(app, ["api", "check", "--folder", str(tmp_path)]).exit_code == 0
    promised = json.loads((tmp_path / "v1.json").read_text())
    promised["paths"]["/v1/orders/gone"] = promised["paths"]["/v1/orders/order-details"]
    (tmp_path / "v1.json").write_text(json.dumps(promised))
    found = runner.invoke(app, ["api", "check", "--json", "--folder", str(tmp_path)])
    assert found.exit_code == 5
    assert json.loads(found.stdout) == [{"path": "/v1/orders/gone", "what": "is gone", "breaking": True}]


@pytest.mark.parametrize(
    ("name", "content"), [("v1.json", "{"), ("v1.json", "{}"), ("v1.json", "[]"), ("v1.json", "7"), ("vx.json", "{}")]
)
def test_what_was_never_recorded_is_named(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    found = CliRunner().invoke(app, ["api", "check", "--folder", str(tmp_path)])
    assert (found.exit_code, isinstance(found.exception, SystemExit)) == (2, True)
    assert name in found.stderr
    assert CliRunner().invoke(app, ["api", "record", "--folder", str(tmp_path / name)]).exit_code == 2
