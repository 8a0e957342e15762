"""AsyncAPI 3.0 documents of what stands on Kafka, derived from the domains' declarations."""

from collections.abc import Mapping
from importlib.metadata import version as installed
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from domains.admin import EVENT_SKIPPED, EventSkipped
from domains.kernel import Domain, View

TEXT = {"type": "string"}
TIME = {"type": "string", "format": "date-time"}
ENVELOPE = "CloudEvent"
CLOUD_EVENT = {
    "type": "object",
    "description": "A structured CloudEvent 1.0; `data` is the event as it was recorded.",
    "required": ["type", "subject", "sequence", "time", "specversion", "id", "source", "datacontenttype", "data"],
    "properties": {
        "type": TEXT,
        "subject": {**TEXT, "description": "the stream, which is the record's key"},
        "sequence": {**TEXT, "pattern": "^[0-9]{20}$", "description": "the position in the store"},
        "time": TIME,
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "format": "uuid"},
        "source": {"type": "string", "format": "uri-reference"},
        "datacontenttype": {"const": "application/json"},
        "recordedtime": TIME,
        "streamversion": {"type": "integer", "minimum": 1},
        "partitionkey": TEXT,
        **dict.fromkeys(("actor", "requestid", "correlationid", "causationid", "traceparent", "tags"), TEXT),
        "data": {"type": "object"},
    },
}


def document(domains: Mapping[str, Domain]) -> dict[str, Any]:
    """The document of these domains: their events, the rows of their views, and what was left out of these."""
    found: dict[str, Any] = {"channels": {}, "operations": {}, "messages": {}, "schemas": {ENVELOPE: CLOUD_EVENT}}
    for domain in domains.values():
        found["schemas"] |= schemas_of(domain)
        add_events(found, domain)
        add_skips(found, domain)
        for view in domain.views:
            add_rows(found, domain, view)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Headrace",
            "version": installed("headrace"),
            "description": "What stands on Kafka, over SASL_SSL. Events are facts; rows are what views make of them.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": found["channels"],
        "operations": found["operations"],
        "components": {
            "schemas": found["schemas"],
            "messages": found["messages"],
            "securitySchemes": {"scram": {"type": "scramSha512", "description": "one principal for each process"}},
        },
    }


def schemas_of(domain: Domain) -> dict[str, Any]:
    """The data of events, and the rows of views, as they are written."""
    models: list[Any] = [*domain.events.values(), *(view.row for view in domain.views), EventSkipped]
    _, found = models_json_schema(
        [(model, "serialization") for model in models], ref_template=f"#/components/schemas/{domain.name}.{{model}}"
    )
    return {f"{domain.name}.{name}": schema for name, schema in found["$defs"].items()}


def add_skips(found: dict[str, Any], domain: Domain) -> None:
    type_name = EVENT_SKIPPED.format(domain.name)
    found["messages"][name := type_name.replace(".", "-")] = message(domain, type_name, EventSkipped)
    about = f"What people left out of views of {domain.name} for good, and why; each at least once, with its own id."
    add_channel(found, domain.skips_topic, [name], about, partitions=1)


def message(domain: Domain, type_name: str, model: type[BaseModel]) -> dict[str, Any]:
    data = {"properties": {"type": {"const": type_name}, "data": schema(f"{domain.name}.{model.__name__}")}}
    return {
        "name": type_name,
        "title": model.__name__,
        "summary": summary(model.__doc__, type_name),
        "contentType": "application/cloudevents+json",
        "payload": {"allOf": [schema(ENVELOPE), data]},
        "bindings": key(f"the stream, like {domain.stream('1')}"),
    }


def add_events(found: dict[str, Any], domain: Domain) -> None:
    names = {name: name.replace(".", "-") for name in domain.events}
    for type_name, model in domain.events.items():
        found["messages"][names[type_name]] = message(domain, type_name, model)
    about = f"Every event of {domain.name}, in order of their positions within a partition."
    add_channel(found, domain.events_topic, list(names.values()), about, partitions=domain.partitions)


def add_rows(found: dict[str, Any], domain: Domain, view: View[Any, Any]) -> None:
    name = f"{domain.name}-{view.name}-v{view.version}"
    found["messages"][name] = {
        "name": name,
        "title": view.row.__name__,
        "summary": summary(view.row.__doc__, view.name),
        "contentType": "application/json",
        "payload": schema(f"{domain.name}.{view.row.__name__}"),
        "bindings": key(f"the {view.key}"),
    }
    about = f"The rows of {view.name} as they are now; a record without a value takes a row away."
    compacted = {"cleanup.policy": ["compact"]}
    add_channel(
        found, domain.view_topic(view), [name], about, partitions=domain.partitions, topicConfiguration=compacted
    )


def add_channel(found: dict[str, Any], topic: str, messages: list[str], about: str, **settings: object) -> None:
    name = topic.replace(".", "-")
    found["channels"][name] = {
        "address": topic,
        "description": about,
        "messages": {one: {"$ref": f"#/components/messages/{one}"} for one in messages},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0", **settings}},
    }
    found["operations"][f"{name}-sent"] = {
        "action": "send",
        "summary": about,
        "channel": {"$ref": f"#/channels/{name}"},
    }


def key(description: str) -> dict[str, Any]:
    return {"kafka": {"key": {**TEXT, "description": description}, "bindingVersion": "0.5.0"}}


def schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def summary(text: str | None, name: str) -> str:
    return " ".join((text or name).split())
