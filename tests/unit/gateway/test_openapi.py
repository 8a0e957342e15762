"""The OpenAPI document is derived from the declarations, and every reference in it leads somewhere."""

import json
import re

from domains.discovery import discover
from gateway.openapi import document


def test_every_address_of_every_domain_is_described():
    paths = document(discover())["paths"]
    for domain in discover().values():
        for command in domain.commands:
            assert "post" in paths[f"/v1/{domain.name}/{{id}}/{command}"]
        for view in domain.views:
            assert "get" in paths[f"/v1/{domain.name}/{view.name}"]
            assert "get" in paths[f"/v1/{domain.name}/{view.name}/{{key}}"]


def test_the_identity_stands_in_the_address_only():
    described = document(discover())
    for domain in discover().values():
        for command in domain.commands.values():
            schema = described["components"]["schemas"][f"{domain.name}.{command.__name__}"]
            assert domain.identity not in schema["properties"]
            assert domain.identity not in schema["required"]


def test_every_reference_leads_somewhere():
    described = document(discover())
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(described)))
    assert references
    assert references <= set(described["components"]["schemas"])


def test_operations_have_names_of_their_own():
    operations = [one["operationId"] for path in document(discover())["paths"].values() for one in path.values()]
    assert len(set(operations)) == len(operations)
