"""OpenAPI 3.1 documents, derived from the domains' declarations."""

import re
from collections.abc import Mapping, Sequence, Set
from importlib.metadata import version as installed
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from domains.kernel import IN_BODIES, Domain, Version, View
from domains.kernel import Part as Composed
from gateway.routes import OPERATION, STREAM, STREAMS_READ
from gateway.schemas import (
    ANSWER_HEADERS,
    AS_OF,
    ASKED_WITH,
    COUNT,
    HEADERS,
    KEY,
    KNOWN,
    QUERY_HEADERS,
    SHARED,
    TEXT,
    Told,
    answered,
    headers_of,
    json_of,
    parameter,
    reference,
    refusals,
    several,
)
from gateway.versions import Served, served

IF_CHANGED = parameter("If-None-Match", "header", KNOWN)
GONE = "This version is deprecated; answers say until when it is served."


def document(domains: Mapping[str, Domain], version: int | None = None) -> dict[str, Any]:
    """The document of these domains: of one version of their addresses, or of all."""
    schemas: dict[str, Any] = dict(SHARED)
    paths: dict[str, Any] = {}
    for domain in domains.values():
        for each in domain.versions:
            if version in (None, each.number):
                part = Part(domain, each)
                schemas |= part.schemas()
                paths |= part.paths()
    for one in served(domains):
        if version in (None, one.version.number):
            answering = answers(one, domains)
            paths[one.template] = {"get": composed(one, answering)}
            # A part may have the form of an older version than the document is of.
            schemas |= {name: schema for part in answering if part for name, schema in part.schemas().items()}
    if version in (None, 1):
        paths |= operations(domains)
    for methods in paths.values():
        if "get" in methods:
            methods["head"] = headed(methods["get"])
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
            "headers": ANSWER_HEADERS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "at+jwt"}},
        },
    }


def headed(asked: Told) -> Told:
    """The same without a body."""
    answers = {
        status: {name: told for name, told in one.items() if name != "content"}
        for status, one in asked["responses"].items()
    }
    return {**asked, "operationId": f"{asked['operationId']}.head", "responses": answers}


def operations(domains: Mapping[str, Domain]) -> Told:
    """Where the outcomes of commands are to be found that are answered later."""

    def asked(name: str, summary: str, parameters: list[Told], content: Told) -> Told:
        told = answered("200", "how it stands", content, "Retry-After")
        refused = refusals("400", "401", "403", "404", "429", "503")
        scopes = [{"token": [f"{domain.name}:write"]} for domain in domains.values()]
        parameters = [parameter("id", "path", KEY), *parameters]
        return {
            "get": {**named(name, summary, "operations", scopes), "parameters": parameters, "responses": told | refused}
        }

    resumed = parameter("Last-Event-ID", "header", TEXT)
    events = {"text/event-stream": {"schema": TEXT}}
    followed = asked(
        "operations.stream", "An operation as it comes to its end, as server-sent events", [resumed], events
    )
    followed["get"]["responses"]["204"] = {"description": "it has ended, as you know", ASKED_WITH: "Last-Event-ID"}
    found = asked("operations.row", "What became of an accepted command", [], json_of(reference("Operation")))
    return {OPERATION: found, f"{OPERATION}/{STREAM}": followed}


def answers(one: Served, domains: Mapping[str, Domain]) -> list["Part | None"]:
    """Who answers for each part of a composition; None: nobody who is known here."""
    found: list[Part | None] = []
    for part, form in zip(one.composition.parts, one.forms, strict=True):
        domain = domains.get(part.domain)
        version = domain.version(form) if domain and form else None
        found.append(Part(domain, version) if domain and version else None)
    return found


def composed(served: Served, answering: Sequence["Part | None"]) -> Told:
    """A question that views of several domains answer together."""
    one, number, parts = served.composition, served.version.number, Told()
    for part, known in zip(one.parts, answering, strict=True):
        data = known.part_of(part) if known else {}
        states = {"enum": ["ok", "late", "missing", "forbidden", "unavailable"]}
        told = {"status": states, "age": {"type": "number", "description": "in seconds"}, "data": data}
        parts[part.name] = {"type": "object", "required": ["status"], "properties": told}
    shape = {"type": "object", "required": list(parts), "properties": parts}
    body = {"type": "object", "required": ["key", "parts"], "properties": {"key": TEXT, "parts": shape}}
    tags = ("ETag", *notes(served.version))
    told = answered("200", "the parts that came in time", json_of(body), *tags) | unchanged(*tags)
    refused = refusals("400", "401", "403", "422", "429", "503")
    # That of the first version was promised before there were others.
    prefix = served.domain if number == 1 else f"{served.domain}.v{number}"
    return {
        **named(f"{prefix}.{one.things}.{one.name}", f"The {one.name} of one of the {one.things}", served.domain),
        **gone(served.version),
        "security": [{"token": [served.scope]}],
        "parameters": [parameter("key", "path", KEY), IF_CHANGED, *headers_of(QUERY_HEADERS)],
        "responses": told | refused,
    }


def unchanged(*headers: str) -> Told:
    """What is answered to who has it already."""
    told = answered("304", "what there is, you have", {}, *headers)
    told["304"][ASKED_WITH] = "If-None-Match"
    return told


def named(name: str, summary: str, tag: str, security: list[Told] | None = None) -> Told:
    told: Told = {"operationId": name, "summary": " ".join(summary.split()), "tags": [tag]}
    return told | ({"security": security} if security else {})


def notes(version: Version) -> tuple[str, ...]:
    """The headers by which answers say that their version is deprecated."""
    return ("Deprecation", "Sunset", "Link") if version.deprecated else ()


def gone(version: Version) -> Told:
    return {"deprecated": True, "description": GONE} if version.deprecated else {}


def page(row: Told) -> Told:
    return {
        "type": "object",
        "required": ["items", "next"],
        "properties": {"items": {"type": "array", "items": row}, "next": {"type": ["string", "null"]}},
    }


def describe(domain: Domain) -> str:
    own = f" A token that names its {domain.owner} is bound to what is his own." if domain.owner else ""
    return f"The {domain.name}.{own}"


class Part:
    """One version of one domain."""

    def __init__(self, domain: Domain, version: Version) -> None:
        self._domain, self._version = domain, version
        self._prefix = f"{domain.name}.v{version.number}"
        self._notes = notes(version)

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
        told = {name: exact(schema, body=not name.endswith("-Output")) for name, schema in schemas.items()}
        for row in {self._version.row(view) for view in self._domain.views}:
            told[f"{row.__name__}.part"] = some_of(told[row.__name__])
        return {f"{self._prefix}.{name}": without_title(schema) for name, schema in told.items()}

    def row_of(self, view: View[Any, Any]) -> Told:
        return reference(f"{self._prefix}.{self._version.row(view).__name__}")

    def part_of(self, one: Composed) -> Told:
        """What a part of a composition has as its data."""
        if (view := self._domain.view(one.view)) is None:
            return {}
        return self.row_of(view) if one.column is None else page(self.row_of(view))

    def _shown(self, view: View[Any, Any]) -> Told:
        """A row, or those fields of it that were asked for."""
        whole = self.row_of(view)
        return {"anyOf": [whole, {"$ref": f"{whole['$ref']}.part", ASKED_WITH: "fields"}]}

    def paths(self) -> dict[str, Any]:
        base = f"/v{self._version.number}/{self._domain.name}"
        paths: dict[str, Any] = {f"{base}/{{id}}/events": {"get": self._events()}}
        paths |= self._commands(self._domain.commands.keys() - self._domain.admin.keys())
        for view in self._domain.views:
            paths[f"{base}/{view.name}"] = {"get": self._rows(view)}
            paths[f"{base}/{view.name}/{{key}}"] = {"get": self._row(view)}
            paths[f"{base}/{view.name}/stream"] = {"get": self._changes(view)}
        return paths

    def admin_paths(self) -> dict[str, Any]:
        """The commands that are for operators."""
        return self._commands(self._domain.commands.keys() & self._domain.admin.keys())

    def _commands(self, wanted: Set[str]) -> dict[str, Any]:
        base = f"/v{self._version.number}/{self._domain.name}"
        return {
            f"{base}/{{id}}/{name}": {"post": self._command(name)} for name in self._domain.commands if name in wanted
        }

    def _command(self, name: str) -> dict[str, Any]:
        body = self._version.body(self._domain, name)
        told = {"schema": reference(f"{self._prefix}.{body.__name__}"), **examples(body)}
        parameters = [parameter("id", "path", field(body, self._domain.identity)), *headers_of(HEADERS)]
        tags = ("ETag", "Consistency-Token", "Location", *self._notes)
        done = answered("201", "done", json_of(reference("Done")), *tags, "Preference-Applied")
        found = ("Location", "Preference-Applied", "Retry-After", *self._notes)
        later = answered("202", "accepted", json_of(reference("Accepted")), *found)
        later["202"][ASKED_WITH] = "Prefer"
        needed = ("428",) if name in self._domain.needs_version else ()
        refused = refusals("400", "401", "403", "409", "412", "413", "415", "422", *needed, "429", "503")
        return {
            **self._operation(
                name,
                body.__doc__ or words(self._domain.commands[name]),
                self._domain.command_scope(name),
                self._domain.owner,
            ),
            "parameters": parameters,
            "requestBody": {"required": True, "content": {"application/json": told}},
            "responses": done | later | refused,
        }

    def _rows(self, view: View[Any, Any]) -> Told:
        filters = [parameter(name, "query", field(view.row, name)) for name in view.filters]
        orders = [f"{sign}{name}" for name in view.sortable for sign in ("", "-")]
        more = [
            parameter("limit", "query", COUNT),
            parameter("cursor", "query", TEXT),
            parameter("sort", "query", {"enum": orders}),
            several("fields", self._version.row(view).model_fields),
            parameter(*AS_OF),
        ]
        return self._read(view, view.name, [*filters, *more], page(self._shown(view)))

    def _row(self, view: View[Any, Any]) -> Told:
        fields = several("fields", self._version.row(view).model_fields)
        parameters = [parameter("key", "path", KEY), fields, parameter(*AS_OF)]
        return self._read(view, f"{view.name}.row", parameters, self._shown(view), "Data-Parked", "404")

    def _read(self, view: View[Any, Any], name: str, parameters: list[Told], schema: Told, *more: str) -> Told:
        """A question whose answer may be known already."""
        asked = self._query(view, name, [*parameters, IF_CHANGED], json_of(schema), *more)
        asked["responses"] |= unchanged("ETag", "Data-Age", "Data-Position")
        return asked

    def _changes(self, view: View[Any, Any]) -> dict[str, Any]:
        """Server-sent events: `row` with a row as it has become, and `removed` with its key."""
        filters = [parameter(name, "query", field(view.row, name)) for name in view.filters]
        more = [parameter("key", "query", KEY), parameter("snapshot", "query", {"type": "boolean"})]
        asked = [*filters, *more, parameter("Last-Event-ID", "header", TEXT)]
        return self._query(view, f"{view.name}.stream", asked, {"text/event-stream": {"schema": TEXT}}, "410")

    def _query(self, view: View[Any, Any], name: str, parameters: list[Told], content: Told, *more: str) -> Told:
        """`more` are headers of the answer, and statuses that it may have besides those of all questions."""
        summary = self._version.row(view).__doc__ or view.name
        headers = ("ETag", "Data-Age", "Data-Position", *self._notes, *(one for one in more if not one.isdigit()))
        statuses = ("400", "401", "403", *(one for one in more if one.isdigit()), "422", "429", "503")
        return {
            **self._operation(name, summary, self._domain.view_scope(view.name), view.owner),
            "parameters": [*parameters, *headers_of(QUERY_HEADERS)],
            "responses": answered("200", "found", content, *headers) | refusals(*statuses),
        }

    def _events(self) -> dict[str, Any]:
        after = parameter("after", "query", {"type": "integer", "minimum": 0, "maximum": 2**53})
        found = answered("200", "found", json_of(reference("Stream")), "ETag", *self._notes)
        body = next(iter(self._domain.commands.values()))
        parameters = [parameter("id", "path", field(body, self._domain.identity)), after]
        return {
            **self._operation("events", "The events of one stream", STREAMS_READ, self._domain.owner),
            "parameters": [*parameters, parameter("limit", "query", COUNT)],
            "responses": found | refusals("400", "401", "403", "404", "422", "429", "503"),
        }

    def _operation(self, name: str, summary: str, scope: str, owner: str | None) -> dict[str, Any]:
        """What every operation says. `x-owner` is the claim of a token that is bound to what is its owner's own."""
        told = named(f"{self._prefix}.{name}", summary, self._domain.name, [{"token": [scope]}])
        if owner is not None:
            told["x-owner"] = owner
        return told | gone(self._version)


def exact(schema: Any, *, body: bool) -> Any:
    """A schema in which fields of bodies are what is said of them there."""
    if isinstance(schema, Mapping):
        if body and IN_BODIES in schema:
            kept = {word: schema[word] for word in ("title", "description", "default") if word in schema}
            return kept | schema[IN_BODIES]
        return {word: exact(value, body=body) for word, value in schema.items() if word != IN_BODIES}
    return [exact(part, body=body) for part in schema] if isinstance(schema, list) else schema


def some_of(schema: Told) -> Told:
    """An object of which fields may be missing."""
    return {"type": "object", "properties": schema["properties"], "additionalProperties": False, "minProperties": 1}


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
