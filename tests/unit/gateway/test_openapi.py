"""The documents are derived from the declarations, valid, and each address of a domain stands in them."""

import json
import re

import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from domains.discovery import discover
from gateway.documents import described, numbers
from gateway.openapi import document

DOCUMENTS = {name: orjson.loads(content) for name, content in described(discover()).items()}
OPENAPI = {name: content for name, content in DOCUMENTS.items() if name.startswith("openapi")}


@pytest.mark.parametrize("name", OPENAPI)
def test_a_document_is_valid(name):
    assert [error.message for error in OpenAPIV31SpecValidator(OPENAPI[name]).iter_errors()] == []


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
    for path, methods in OPENAPI["openapi"]["paths"].items():
        for operation in methods.values():
            assert operation.get("deprecated", False) == path.startswith("/v1/")


def test_every_reference_leads_somewhere():
    described = document(discover())
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(described)))
    assert references
    assert references <= set(described["components"]["schemas"])


def test_operations_have_names_of_their_own():
    operations = [one["operationId"] for path in document(discover())["paths"].values() for one in path.values()]
    assert len(set(operations)) == len(operations)
