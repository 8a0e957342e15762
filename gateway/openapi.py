"""The OpenAPI 3.1 document of all domains, derived from their declarations."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from domains.kernel import Command, Domain, Row, View
from gateway.routes import STREAMS_READ

REFERENCE = "#/components/schemas/{model}"
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
    },
}


def document(domains: Mapping[str, Domain]) -> dict[str, Any]:
    """The document: every command, view and stream of every domain."""
    schemas: dict[str, Any] = {"Problem": PROBLEM_SCHEMA}
    paths: dict[str, Any] = {}
    for domain in domains.values():
        schemas |= schemas_of(domain)
        paths |= paths_of(domain)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Headrace", "version": version("headrace")},
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def schemas_of(domain: Domain) -> dict[str, Any]:
    """The bodies of a domain. The identity of the aggregate stands in the address, not in the body."""
    models: list[tuple[type[BaseModel], Any]] = [(command, "validation") for command in domain.commands.values()]
    models += [(view.row, "serialization") for view in domain.views]
    _, found = models_json_schema(models, ref_template=f"#/components/schemas/{domain.name}.{{model}}")
    schemas: dict[str, Any] = found["$defs"]
    for command in domain.commands.values():
        without(schemas[command.__name__], domain.identity)
    return {f"{domain.name}.{name}": schema for name, schema in schemas.items()}


def without(schema: dict[str, Any], field: str) -> None:
    schema["properties"].pop(field, None)
    schema["required"] = [name for name in schema.get("required", []) if name != field]


def paths_of(domain: Domain) -> dict[str, Any]:
    base = f"/v1/{domain.name}"
    paths: dict[str, Any] = {f"{base}/{{id}}/events": {"get": events(domain)}}
    for name, model in domain.commands.items():
        paths[f"{base}/{{id}}/{name}"] = {"post": command(domain, name, model)}
    for view in domain.views:
        paths[f"{base}/{view.name}"] = {"get": rows(domain, view)}
        paths[f"{base}/{view.name}/{{key}}"] = {"get": row(domain, view)}
    return paths


def command(domain: Domain, name: str, model: type[Command]) -> dict[str, Any]:
    headers = ("Idempotency-Key", "If-Match", "If-None-Match")
    return {
        "operationId": f"{domain.name}.{name}",
        "summary": model.__doc__ or name,
        "tags": [domain.name],
        **access(domain.command_scope(name), domain.owner),
        "parameters": [parameter("id", "path"), *(parameter(header, "header") for header in headers)],
        "requestBody": {"required": True, "content": json_of(domain, model)},
        "responses": {"201": {"description": "done"}, "default": {"description": "a problem", "content": PROBLEM}},
    }


def rows(domain: Domain, view: View[Any, Any]) -> dict[str, Any]:
    filters = [parameter(name, "query") for name in (*view.filters, "limit", "cursor")]
    return query(domain, view, f"{domain.name}.{view.name}", filters, {"application/json": {"schema": {}}})


def row(domain: Domain, view: View[Any, Any]) -> dict[str, Any]:
    keyed = [parameter("key", "path")]
    return query(domain, view, f"{domain.name}.{view.name}.row", keyed, json_of(domain, view.row))


def query(
    domain: Domain, view: View[Any, Any], name: str, parameters: list[dict[str, Any]], content: dict[str, Any]
) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": view.row.__doc__ or view.name,
        "tags": [domain.name],
        **access(domain.view_scope(view.name), view.owner),
        "parameters": [*parameters, parameter("Consistency-Token", "header")],
        "responses": answers(content),
    }


def events(domain: Domain) -> dict[str, Any]:
    return {
        "operationId": f"{domain.name}.events",
        "summary": "The events of one stream",
        "tags": [domain.name],
        **access(STREAMS_READ, domain.owner),
        "parameters": [parameter("id", "path")],
        "responses": answers({"application/json": {"schema": {}}}),
    }


def access(scope: str, owner: str | None) -> dict[str, Any]:
    """The scope that is needed, and the claim of a token that is bound to what is its owner's own."""
    return {"security": [{"token": [scope]}], **({"x-owner": owner} if owner else {})}


def answers(content: dict[str, Any]) -> dict[str, Any]:
    return {
        "200": {"description": "found", "content": content},
        "default": {"description": "a problem", "content": PROBLEM},
    }


def parameter(name: str, place: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}


def json_of(domain: Domain, model: type[Command] | type[Row]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{domain.name}.{model.__name__}"}}}
