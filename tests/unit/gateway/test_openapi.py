"""The documents are derived from the declarations, valid, and each address of a domain stands in them."""

import json
import re

import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from domains.admin import VERBS
from domains.discovery import discover
from domains.kernel import Command, Composition, Decider, Domain, Event, Part, Row, View
from gateway import admin_openapi
from gateway.documents import described, numbers
from gateway.openapi import document


class Send(Command):
    letter: str


class Sent(Event):
    letter: str


class Letter(Row):
    letter: str


LETTERS = Domain(
    name="letters",
    identity="letter",
    commands={"send": Send},
    events={"letters.Sent.v1": Sent},
    decider=Decider(None, lambda state, _: state, lambda _, __: []),
    views=(View("sent", Letter, "letter", lambda event: event.letter, lambda row, _: row),),
    compositions=(
        Composition(
            "customers", "letters", (Part("letter", "letters", "sent"), Part("order", "orders", "order-details"))
        ),
    ),
)
DOCUMENTS = {name: orjson.loads(content) for name, content in described(discover()).items()}
OPENAPI = {name: content for name, content in DOCUMENTS.items() if name.startswith("openapi")}


@pytest.mark.parametrize("name", OPENAPI)
def test_a_document_is_valid(name):
    assert [error.message for error in OpenAPIV31SpecValidator(OPENAPI[name]).iter_errors()] == []


def test_the_document_for_operators_is_valid_and_has_what_the_domains_declare_for_them():
    told = admin_openapi.document(discover())
    assert [error.message for error in OpenAPIV31SpecValidator(told).iter_errors()] == []
    for name, domain in discover().items():
        found = {path.rpartition("/")[2] for path in told["paths"] if path.startswith(f"/v1/{name}/projections/")}
        assert found == domain.admin.keys() & VERBS.keys()
    verbs = {path: told["post"] for path, told in told["paths"].items() if "/projections/" in path}
    assert {path.startswith("/v1/") for path, verb in verbs.items() if verb.get("deprecated")} == {True}
    assert {path.startswith("/v1/") for path, verb in verbs.items() if not verb.get("deprecated")} == {False}
    assert not told["paths"].keys() & OPENAPI["openapi"]["paths"].keys()


def test_there_is_a_document_for_the_whole_each_version_and_each_domain():
    wanted = {"openapi", "openapi-orders", *(f"openapi-v{number}" for number in numbers(discover()))}
    assert wanted <= OPENAPI.keys()
    assert all(path.startswith("/v2/") for path in OPENAPI["openapi-v2"]["paths"])


def test_every_address_of_every_domain_is_described():
    paths = document(discover())["paths"]
    for domain in discover().values():
        for version in domain.versions:
            base = f"/v{version.number}/{domain.name}"
            for command in domain.commands:
                assert "post" in paths[f"{base}/{{id}}/{command}"]
            for view in domain.views:
                assert "get" in paths[f"{base}/{view.name}"]
                assert "get" in paths[f"{base}/{view.name}/{{key}}"]


def test_what_is_asked_with_get_is_asked_with_head_and_answered_without_a_body():
    for methods in OPENAPI["openapi"]["paths"].values():
        assert ("get" in methods) == ("head" in methods)
        for answer in methods.get("head", {}).get("responses", {}).values():
            assert "content" not in answer


def test_outcomes_are_described_with_the_first_version():
    for name in ("openapi", "openapi-v1", "openapi-orders"):
        followed = OPENAPI[name]["paths"]["/v1/operations/{id}/stream"]["get"]
        assert {"200", "204"} <= followed["responses"].keys()
    assert "/v1/operations/{id}" not in OPENAPI["openapi-v2"]["paths"]


@pytest.mark.parametrize("number", [1, 2])
def test_compositions_are_described_in_each_version_with_the_rows_of_that_version(number):
    for name in ("openapi", f"openapi-v{number}", "openapi-orders"):
        overview = OPENAPI[name]["paths"][f"/v{number}/customers/{{key}}/overview"]["get"]
        assert {"200", "304"} <= overview["responses"].keys()
        assert ("Deprecation" in overview["responses"]["304"]["headers"]) == (number == 1)
        assert "ETag" in overview["responses"]["200"]["headers"]
        assert "If-None-Match" in {one["name"] for one in overview["parameters"]}
        rows = set(re.findall(r"schemas/(orders\.[^\"]+)", json.dumps(overview["responses"]["200"])))
        form = "V2" if number == 2 else ""
        assert rows == {f"orders.v{number}.CustomerHistory{form}", f"orders.v{number}.Order{form}"}


def test_a_part_of_an_older_form_is_described_in_the_document_of_the_newer_version():
    described = document(discover() | {"letters": LETTERS}, 2)
    assert [error.message for error in OpenAPIV31SpecValidator(described).iter_errors()] == []
    overview = json.dumps(described["paths"]["/v2/customers/{key}/letters"])
    wanted = set(re.findall(r"#/components/schemas/([^\"]+)", overview))
    assert {"letters.v1.Letter", "orders.v2.OrderV2"} <= wanted <= described["components"]["schemas"].keys()


def test_who_may_be_refused_is_told_with_what_and_when_to_come_again():
    for methods in OPENAPI["openapi"]["paths"].values():
        for method, operation in methods.items():
            answers = operation["responses"]
            assert {"401", "403", "429", "503", "default"} <= answers.keys()
            assert "Retry-After" in answers["429"]["headers"]
            assert {"RateLimit", "RateLimit-Policy"} <= answers["429"]["headers"].keys()
            assert method != "post" or {"201", "202", "412"} <= answers.keys()


def test_a_stream_of_changes_says_that_one_may_come_back_too_late():
    for path, methods in OPENAPI["openapi"]["paths"].items():
        expired = methods.get("get", {}).get("responses", {}).get("410", {"description": ""})
        is_stream = path.endswith("/stream") and not path.startswith("/v1/operations/")
        assert ("cursor-expired" in expired["description"]) == is_stream


def test_money_in_a_body_is_a_string_in_every_version():
    schemas = OPENAPI["openapi"]["components"]["schemas"]
    first, second = schemas["orders.v1.Line-Input"], schemas["orders.v2.PriceOf"]
    assert first["properties"]["unit_price"]["pattern"] == second["properties"]["amount"]["pattern"]
    assert "x-in-bodies" not in json.dumps(OPENAPI["openapi"])


def test_the_identity_stands_in_the_address_only():
    described = document(discover())
    for domain in discover().values():
        for version in domain.versions:
            for command in domain.commands:
                name = f"{domain.name}.v{version.number}.{version.body(domain, command).__name__}"
                schema = described["components"]["schemas"][name]
                assert domain.identity not in schema["properties"]
                assert domain.identity not in schema["required"]


def test_what_is_deprecated_says_so():
    going = ("/v1/customers/", *(f"/v1/{name}/" for name in discover()))
    for path, methods in OPENAPI["openapi"]["paths"].items():
        for operation in methods.values():
            assert operation.get("deprecated", False) == path.startswith(going)


def test_every_reference_leads_somewhere():
    described = document(discover())
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(described)))
    assert references
    assert references <= set(described["components"]["schemas"])


def test_operations_have_names_of_their_own():
    operations = [one["operationId"] for path in document(discover())["paths"].values() for one in path.values()]
    assert len(set(operations)) == len(operations)
