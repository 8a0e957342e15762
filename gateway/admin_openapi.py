"""The OpenAPI 3.1 document of the port for operators."""

from collections.abc import Mapping
from importlib.metadata import version as installed
from typing import Any

from pydantic.json_schema import models_json_schema

from domains.admin import VERBS, address
from domains.kernel import Domain
from gateway.openapi import GONE, Part, describe, named, without_title
from gateway.plan import GATEWAY_ADMIN
from gateway.schemas import ANSWER_HEADERS, SHARED, TEXT, Told, answered, json_of, reference, refusals

NUMBER = {"type": "integer", "minimum": 0}
SECONDS = {"type": "number", "minimum": 0}
MAYBE = {"type": ["string", "null"]}


def array(**properties: Told) -> Told:
    return {"type": "array", "items": {"type": "object", "required": list(properties), "properties": properties}}


STATES = {
    "routes": (
        "Where requests go",
        array(
            port={"enum": ["public", "admin"]},
            **dict.fromkeys(("method", "address", "service", "scope", "counts_as"), TEXT),
            deprecated=MAYBE,
            sunset=MAYBE,
        ),
    ),
    "upstreams": (
        "The services, and how each of their instances does",
        array(
            service=TEXT,
            addresses={"type": "array", "items": TEXT},
            instances=array(
                address=TEXT,
                state={"enum": ["well", "failing", "set aside"]},
                failures=NUMBER,
                asked_again_in=SECONDS,
                unready=MAYBE,
                requests=NUMBER,
                streams=NUMBER,
            ),
        ),
    ),
    "quotas": (
        "How much may be asked for, and who has asked for most of late, as far as this process counts it",
        array(kind=TEXT, units=NUMBER, seconds=NUMBER, keys=NUMBER, most=array(key=TEXT, used=NUMBER)),
    ),
}
DONE = {
    "type": "object",
    "required": ["folded", "left", "error"],
    "properties": {"folded": NUMBER, "left": {**NUMBER, "description": "events that still wait"}, "error": MAYBE},
}
BEGUN = {"type": "object", "required": ["view"], "properties": {"view": TEXT}}


def document(domains: Mapping[str, Domain]) -> dict[str, Any]:
    """What operators may ask of these domains, and of the gateway itself."""
    _, bodies = models_json_schema(
        [(verb.body, "validation") for verb in VERBS.values()], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = SHARED | {name: without_title(schema) for name, schema in bodies["$defs"].items()}
    paths: dict[str, Any] = {f"/{name}": {"get": state(name)} for name in STATES}
    for domain in domains.values():
        for served in domain.versions:
            part = Part(domain, served)
            if commands := part.admin_paths():
                schemas |= part.schemas()
                paths |= commands
            for view in domain.views:
                for verb in VERBS.keys() & domain.admin.keys():
                    told = act(domain, f"{domain.name}.v{served.number}.{view.name}.{verb}", verb)
                    told |= {"deprecated": True, "description": GONE} if served.deprecated else {}
                    paths[address(domain.name, served.number, view.name, verb)] = {"post": told}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace for operators",
            "version": installed("headrace"),
            "description": "Served on a port of its own. Every error is a problem (RFC 9457).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "gateway", "description": "The gateway itself."},
            *({"name": name, "description": describe(domain)} for name, domain in domains.items()),
        ],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas,
            "headers": ANSWER_HEADERS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "at+jwt"}},
        },
    }


def state(name: str) -> Told:
    summary, shape = STATES[name]
    told = {"type": "object", "required": [name], "properties": {name: shape}}
    return {
        **named(f"gateway.{name}", summary, "gateway", [{"token": [GATEWAY_ADMIN]}]),
        "responses": answered("200", "found", json_of(told)) | refusals("401", "403", "429", "503"),
    }


def act(domain: Domain, name: str, verb: str) -> Told:
    body = VERBS[verb].body
    done = answered("202", "begun", json_of(BEGUN)) if verb == "rebuild" else answered("200", "done", json_of(DONE))
    return {
        **named(name, body.__doc__ or verb, domain.name, [{"token": [domain.admin[verb]]}]),
        "requestBody": {"required": True, "content": json_of(reference(body.__name__))},
        "responses": done | refusals("400", "401", "403", "404", "409", "422", "429", "503"),
    }
