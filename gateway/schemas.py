"""What all OpenAPI documents share: bodies that are no domain's own, parameters, headers, and answers."""

from collections.abc import Iterable
from typing import Any

Told = dict[str, Any]

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
    "Accepted": {
        "type": "object",
        "required": ["id", "status"],
        "properties": {"id": TEXT, "status": {"const": "accepted"}},
    },
    "Operation": {
        "type": "object",
        "required": ["id", "status"],
        "properties": {
            "id": TEXT,
            "status": {"enum": ["accepted", "succeeded", "failed"]},
            "answer": {
                "type": "object",
                "description": "What the command would have been answered with at once.",
                "required": ["status", "headers", "body"],
                "properties": {
                    "status": {"type": "integer"},
                    "headers": {"type": "object", "additionalProperties": TEXT},
                    "body": {
                        "anyOf": [{"$ref": "#/components/schemas/Done"}, {"$ref": "#/components/schemas/Problem"}]
                    },
                },
            },
        },
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
    "If-None-Match": {"type": "string", "enum": ["*"]},
    "Prefer": {**TEXT, "description": "`respond-async` for an answer later, `wait=n` for the seconds that you wait."},
}
QUERY_HEADERS = {
    "Consistency-Token": {**TEXT, "description": "Waits until the views have seen what these tokens speak of."},
    "Prefer": {**TEXT, "description": "`wait=n`: for so many seconds."},
}
KNOWN = {**TEXT, "description": "Strong or weak tags, or `*`: 304 if what you have is what there is."}
AS_OF = ("as_of", "query", {"type": "string", "format": "date-time", "description": "Answers as it was then."})
COUNT = {"type": "integer", "minimum": 1, "maximum": 500}
# Which parameter an answer, or a part of one, is asked for with: nobody who does not know it gets it.
ASKED_WITH = "x-asked-with"
ANSWER_HEADERS = {
    "ETag": {
        "description": "The version of a stream, or what an answer holds; weak, if its bytes may be others next time",
        "schema": TEXT,
    },
    "Consistency-Token": {"description": "Show it to a query that must have seen this", "schema": TEXT},
    "Location": {"description": "Where the outcome is to be found", "schema": TEXT},
    "Preference-Applied": {"description": "What of `Prefer` was heeded", "schema": TEXT},
    "Data-Age": {"description": "For how many seconds the answer may lack something", "schema": TEXT},
    "Data-Position": {"description": "Up to which position of the log it is whole", "schema": TEXT},
    "Data-Parked": {"description": "From which position on events wait before this row", "schema": TEXT},
    "RateLimit": {"description": 'What is left, and in how many seconds more: `"read";r=99;t=1`', "schema": TEXT},
    "RateLimit-Policy": {"description": 'How much is allowed in how many seconds: `"read";q=100;w=60`', "schema": TEXT},
    "Retry-After": {"description": "In how many seconds to ask again", "schema": {"type": "integer", "minimum": 0}},
    "X-Request-Id": {"description": "It finds the log lines", "schema": TEXT},
    "Deprecation": {"description": "Since when this version is deprecated (RFC 9745)", "schema": TEXT},
    "Sunset": {"description": "Until when it is served at least (RFC 8594)", "schema": TEXT},
    "Link": {"description": "Where its successor is", "schema": TEXT},
}
ALWAYS = ("RateLimit", "RateLimit-Policy", "X-Request-Id")
REFUSALS = {
    "400": "what was sent is malformed",
    "401": "no valid access token",
    "403": "the token does not allow this",
    "404": "there is nothing here",
    "409": "the business refuses, or the same is asked at this moment",
    "410": "the changes since `Last-Event-ID` are no longer all known (`cursor-expired`): begin anew",
    "412": "the stream is not at the version that was demanded",
    "413": "what was sent is too large",
    "415": "what was sent is not JSON",
    "422": "what was sent does not have the form it must have",
    "428": "this needs `If-Match` or `If-None-Match: *`",
    "429": "more was asked than is allowed",
    "503": "this can't be done now",
}


def answered(status: str, description: str, content: Told, *names: str) -> Told:
    """One answer, by its status. Those that hold a time to ask again say so."""
    again = ("Retry-After",) if status in ("429", "503") else ()
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in (*names, *ALWAYS, *again)}
    return {status: {"description": description, "headers": headers, **({"content": content} if content else {})}}


def refusals(*statuses: str) -> Told:
    """The problems that an operation is known to answer with, and any other."""
    found: Told = {}
    for status in statuses:
        found |= answered(status, REFUSALS[status], PROBLEM)
    return found | {"default": {"description": "a problem", "content": PROBLEM}}


def parameter(name: str, place: str, schema: Told) -> Told:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def several(name: str, choices: Iterable[str]) -> Told:
    """A parameter of the query that takes some of these, with commas."""
    items = {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"enum": list(choices)}}
    return {**parameter(name, "query", items), "style": "form", "explode": False}


def headers_of(declared: Told) -> list[Told]:
    return [parameter(name, "header", schema) for name, schema in declared.items()]


def reference(name: str) -> Told:
    return {"$ref": f"#/components/schemas/{name}"}


def json_of(schema: Told) -> Told:
    return {"application/json": {"schema": schema}}
