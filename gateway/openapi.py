"""OpenAPI 3.1 documents, derived from the domains' declarations."""

import re
from collections.abc import Mapping
from importlib.metadata import version as installed
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from domains.kernel import Domain, Version, View
from gateway.routes import STREAMS_READ

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
TEXT = {"type": "string"}
SHARED = {
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail", "request_id"],
        "properties": {
            "type": {
                "type": "string",
                "format": "uri-reference",
                "description": "It leads to a page and never changes.",
            },
            "title": TEXT,
            "status": {"type": "integer"},
            "detail": TEXT,
            "instance": TEXT,
            "request_id": {**TEXT, "description": "It finds the log lines."},
        },
    },
    "Done": {
        "type": "object",
        "required": ["stream", "version", "position"],
        "properties": {"stream": TEXT, "version": {"type": "integer"}, "position": {"type": "integer"}},
    },
    "Stream": {
        "type": "object",
        "required": ["stream", "events"],
        "properties": {
            "stream": TEXT,
            "events": {"type": "array", "items": {"$ref": "#/components/schemas/RecordedEvent"}},
        },
    },
    "RecordedEvent": {
        "type": "object",
        "required": ["version", "position", "id", "type", "time", "recorded_at", "data"],
        "properties": {
            "version": {"type": "integer"},
            "position": {"type": "integer"},
            "id": {"type": "string", "format": "uuid"},
            "type": {**TEXT, "description": "As in the AsyncAPI document, for example `orders.OrderPlaced.v1`."},
            "time": {"type": "string", "format": "date-time"},
            "recorded_at": {"type": "string", "format": "date-time"},
            **{
                name: {"type": ["string", "null"]} for name in ("actor", "request_id", "correlation_id", "causation_id")
            },
            "data": {"type": "object"},
        },
    },
}
KEY = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": r"^[ -.0-\[\]-~]+$"}
HEADERS = {
    "Idempotency-Key": {"type": "string", "pattern": r'^"[!#-\[\]-~]{1,200}"$'},
    "If-Match": {"type": "string", "pattern": '^"[1-9][0-9]{0,17}"$', "description": "It excludes If-None-Match."},
    "If-None-Match": {"type": "string", "pattern": "^[*]$"},
}
AS_OF = ("as_of", "query", {"type": "string", "format": "date-time", "description": "Answers as it was then."})
COUNT = {"type": "integer", "minimum": 1, "maximum": 500}
TAG = {"description": "The version of the stream, as a strong tag", "schema": TEXT}
CONSISTENCY = {"description": "Show it to a query that must have seen this", "schema": TEXT}
GONE = "This version is deprecated; answers say until when it is served."


def document(domains: Mapping[str, Domain], version: int | None = None) -> dict[str, Any]:
    """The document of these domains: of one version of their addresses, or of all."""
    schemas: dict[str, Any] = dict(SHARED)
    paths: dict[str, Any] = {}
    for domain in domains.values():
        for served in domain.versions:
            if version in (None, served.number):
                part = Part(domain, served)
                schemas |= part.schemas()
                paths |= part.paths()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace",
            "version": f"v{version}" if version else installed("headrace"),
            "description": "Commands act, views answer. Every error is a problem (RFC 9457).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": describe(domain)} for name, domain in domains.items()],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "at+jwt"}},
        },
    }


def describe(domain: Domain) -> str:
    own = f" A token that names its {domain.owner} is bound to what is his own." if domain.owner else ""
    return f"The {domain.name}.{own}"


class Part:
    """One version of one domain."""

    def __init__(self, domain: Domain, version: Version) -> None:
        self._domain, self._version = domain, version
        self._prefix = f"{domain.name}.v{version.number}"

    def schemas(self) -> dict[str, Any]:
        """The bodies. The identity of the aggregate stands in the address, not in the body."""
        commands = [self._version.body(self._domain, name) for name in self._domain.commands]
        models: list[tuple[type[BaseModel], Any]] = [(command, "validation") for command in commands]
        models += [(self._version.row(view), "serialization") for view in self._domain.views]
        _, found = models_json_schema(models, ref_template=f"#/components/schemas/{self._prefix}.{{model}}")
        schemas: dict[str, Any] = found["$defs"]
        for command in commands:
            without(schemas[command.__name__], self._domain.identity)
        # A schema has one name, its key: its title is the same in each version, and for what is sent and answered.
        return {f"{self._prefix}.{name}": without_title(schema) for name, schema in schemas.items()}

    def paths(self) -> dict[str, Any]:
        base = f"/v{self._version.number}/{self._domain.name}"
        paths: dict[str, Any] = {f"{base}/{{id}}/events": {"get": self._events()}}
        for name in self._domain.commands:
            paths[f"{base}/{{id}}/{name}"] = {"post": self._command(name)}
        for view in self._domain.views:
            paths[f"{base}/{view.name}"] = {"get": self._rows(view)}
            paths[f"{base}/{view.name}/{{key}}"] = {"get": self._row(view)}
            paths[f"{base}/{view.name}/stream"] = {"get": self._changes(view)}
        return paths

    def _command(self, name: str) -> dict[str, Any]:
        body = self._version.body(self._domain, name)
        found = {"schema": reference(f"{self._prefix}.{body.__name__}"), **examples(body)}
        headers = [parameter(header, "header", schema) for header, schema in HEADERS.items()]
        parameters = [parameter("id", "path", field(body, self._domain.identity)), *headers]
        done = {"description": "done", "content": json_of(reference("Done"))}
        done["headers"] = {"ETag": TAG, "Consistency-Token": CONSISTENCY}
        return {
            **self._operation(
                name,
                body.__doc__ or words(self._domain.commands[name]),
                self._domain.command_scope(name),
                self._domain.owner,
            ),
            "parameters": parameters,
            "requestBody": {"required": True, "content": {"application/json": found}},
            "responses": {"201": done, "default": problem()},
        }

    def _rows(self, view: View[Any, Any]) -> dict[str, Any]:
        filters = [parameter(name, "query", field(view.row, name)) for name in view.filters]
        more = [parameter("limit", "query", COUNT), parameter("cursor", "query", TEXT), parameter(*AS_OF)]
        item = reference(f"{self._prefix}.{self._version.row(view).__name__}")
        page = {
            "type": "object",
            "required": ["items", "next"],
            "properties": {"items": {"type": "array", "items": item}, "next": {"type": ["string", "null"]}},
        }
        return self._query(view, view.name, [*filters, *more], page)

    def _row(self, view: View[Any, Any]) -> dict[str, Any]:
        row = reference(f"{self._prefix}.{self._version.row(view).__name__}")
        return self._query(view, f"{view.name}.row", [parameter("key", "path", KEY), parameter(*AS_OF)], row)

    def _changes(self, view: View[Any, Any]) -> dict[str, Any]:
        """Server-sent events: `row` with a row as it has become, and `removed` with its key."""
        filters = [parameter(name, "query", field(view.row, name)) for name in view.filters]
        more = [parameter("key", "query", KEY), parameter("snapshot", "query", {"type": "boolean"})]
        asked = [*filters, *more, parameter("Last-Event-ID", "header", TEXT)]
        query = self._query(view, f"{view.name}.stream", asked, {})
        query["responses"]["200"]["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
        return query

    def _query(
        self, view: View[Any, Any], name: str, parameters: list[dict[str, Any]], schema: dict[str, Any]
    ) -> dict[str, Any]:
        summary = self._version.row(view).__doc__ or view.name
        return {
            **self._operation(name, summary, self._domain.view_scope(view.name), view.owner),
            "parameters": [*parameters, parameter("Consistency-Token", "header", TEXT)],
            "responses": {"200": {"description": "found", "content": json_of(schema)}, "default": problem()},
        }

    def _events(self) -> dict[str, Any]:
        after = parameter("after", "query", {"type": "integer", "minimum": 0})
        found = {"description": "found", "content": json_of(reference("Stream"))}
        body = next(iter(self._domain.commands.values()))
        parameters = [parameter("id", "path", field(body, self._domain.identity)), after]
        return {
            **self._operation("events", "The events of one stream", STREAMS_READ, self._domain.owner),
            "parameters": [*parameters, parameter("limit", "query", COUNT)],
            "responses": {"200": found, "default": problem()},
        }

    def _operation(self, name: str, summary: str, scope: str, owner: str | None) -> dict[str, Any]:
        """What every operation says. `x-owner` is the claim of a token that is bound to what is its owner's own."""
        told: dict[str, Any] = {
            "operationId": f"{self._prefix}.{name}",
            "summary": " ".join(summary.split()),
            "tags": [self._domain.name],
            "security": [{"token": [scope]}],
        }
        if owner is not None:
            told["x-owner"] = owner
        if self._version.deprecated is not None:
            told |= {"deprecated": True, "description": GONE}
        return told


def without(schema: dict[str, Any], field: str) -> None:
    schema["properties"].pop(field, None)
    schema["required"] = [name for name in schema.get("required", []) if name != field]


def without_title(schema: dict[str, Any]) -> dict[str, Any]:
    return {word: value for word, value in schema.items() if word != "title"}


def field(model: type[BaseModel], name: str) -> dict[str, Any]:
    """What a field may be, as a parameter, which is never null."""
    schema: dict[str, Any] = model.model_json_schema()["properties"][name]
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    kept = choices[0] if len(choices) == 1 else {"anyOf": choices}
    return {word: value for word, value in kept.items() if word not in ("title", "default")}


def words(model: type[BaseModel]) -> str:
    """The name of a command as people say it: `PlaceOrder` is "Place order"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", model.__name__).capitalize()


def examples(model: type[BaseModel]) -> dict[str, Any]:
    extra = model.model_config.get("json_schema_extra")
    listed = extra.get("examples") if isinstance(extra, dict) else None
    return {"example": listed[0]} if isinstance(listed, list) and listed else {}


def problem() -> dict[str, Any]:
    return {"description": "a problem", "content": PROBLEM}


def parameter(name: str, place: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def json_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
