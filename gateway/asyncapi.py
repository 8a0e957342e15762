"""AsyncAPI 3.0 documents of what stands on Kafka, derived from the domains' declarations."""

from collections.abc import Iterable, Mapping
from importlib.metadata import version as installed
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from domains.admin import EVENT_SKIPPED, EventSkipped
from domains.examples import Examples, examples
from domains.kernel import Domain, Version, View
from domains.personal import subjects
from gateway.envelopes import COMMAND, DEAD_LETTER, ENVELOPE, ORIGIN, SEALED_TEXT, SHARED, TEXT
from gateway.openapi import exact, without

SERVERS = {
    "kafka": {
        "host": "{broker}",
        "protocol": "kafka-secure",
        "description": "SASL_SSL with SCRAM-SHA-512. Each principal may do what its process needs, and nothing else.",
        "variables": {"broker": {"description": "host and port of a broker"}},
        "security": [{"$ref": "#/components/securitySchemes/scram"}],
    }
}
# As AsyncAPI means it: what Headrace does, not what its reader may do.
SENT, RECEIVED = "send", "receive"
PAST = {SENT: "sent", RECEIVED: "received"}


def document(domains: Mapping[str, Domain]) -> dict[str, Any]:
    """The document of these domains: commands, events, the rows of views, and what was left out or set aside."""
    found: dict[str, Any] = {"channels": {}, "operations": {}, "messages": {}, "schemas": dict(SHARED)}
    for domain in domains.values():
        known = examples(domain)
        found["schemas"] |= schemas_of(domain)
        add_commands(found, domain, known)
        add_dead_letters(
            found, domain.strange_commands_topic, f"Records that are no accepted commands of {domain.name}."
        )
        add_events(found, domain, known)
        add_dead_letters(
            found, domain.dead_letter_topic, f"Records that are no events of {domain.name}, or whose place has passed."
        )
        add_skips(found, domain)
        for view in domain.views:
            add_rows(found, domain, view, known)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Headrace",
            "version": installed("headrace"),
            "description": (
                "What stands on Kafka, over SASL_SSL. Events are facts; rows are what views make of them. "
                "Nobody but Headrace writes there; commands are sent over HTTP."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "servers": SERVERS,
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
    """The bodies of commands as each version has them; the data of events and the rows of views as they are written."""
    found = {name: schema for version in domain.versions for name, schema in bodies_of(domain, version).items()}
    models: list[Any] = [*domain.events.values(), *(view.row for view in domain.views), EventSkipped]
    _, told = models_json_schema(
        [(model, "serialization") for model in models], ref_template=f"#/components/schemas/{domain.name}.{{model}}"
    )
    return found | {f"{domain.name}.{name}": schema for name, schema in told["$defs"].items()}


def bodies_of(domain: Domain, version: Version) -> dict[str, Any]:
    """The bodies of commands; the aggregate is named by the subject."""
    models = [version.body(domain, name) for name in domain.commands]
    prefix = f"{domain.name}.v{version.number}"
    _, found = models_json_schema(
        [(model, "validation") for model in models], ref_template=f"#/components/schemas/{prefix}.{{model}}"
    )
    for model in models:
        without(found["$defs"][model.__name__], domain.identity)
    return {f"{prefix}.{name}": exact(schema, body=True) for name, schema in found["$defs"].items()}


def add_commands(found: dict[str, Any], domain: Domain, known: Examples) -> None:
    names = {name: f"{domain.name}-commands-{name}" for name in domain.commands}
    for name in domain.commands:
        found["messages"][names[name]] = asked(domain, name, known)
    about = f"The commands of {domain.name} that are answered later, in order for each stream; soon gone."
    does = {
        SENT: f"{about} Only what was accepted over HTTP is sent.",
        RECEIVED: "Each is done once, if it was accepted.",
    }
    add_channel(found, domain.commands_topic, list(names.values()), about, does, partitions=domain.partitions)


def asked(domain: Domain, name: str, known: Examples) -> dict[str, Any]:
    """The message of a command. One that says something about persons is sealed whole."""
    model, type_name = domain.commands[name], f"{domain.name}.commands.{name}"
    forms: list[dict[str, Any]] = [
        {
            "form": {"const": one.number},
            "data": schema(f"{domain.name}.v{one.number}.{one.body(domain, name).__name__}"),
        }
        for one in domain.versions
    ]
    forms += [{"data": schema(SEALED_TEXT)}] if subjects(model) else []
    told = [value for (command, _), value in known.commands.items() if command == name]
    return {
        "name": type_name,
        "title": model.__name__,
        "summary": summary(model.__doc__, type_name),
        "contentType": "application/cloudevents+json",
        "payload": {
            "allOf": [
                schema(COMMAND),
                {"properties": {"type": {"const": type_name}}},
                {"anyOf": [{"properties": form} for form in forms]},
            ]
        },
        "bindings": key(f"the stream, like {domain.stream('1')}"),
        **shown(map(orjson.loads, told)),
    }


def add_dead_letters(found: dict[str, Any], topic: str, about: str) -> None:
    found["messages"][name := topic.replace(".", "-")] = {
        "name": topic,
        "title": DEAD_LETTER,
        "summary": "A record that was set aside, byte for byte.",
        "contentType": "application/octet-stream",
        "headers": schema(ORIGIN),
        "payload": schema(DEAD_LETTER),
        "bindings": key("the record's own, if it has one"),
    }
    add_channel(found, topic, [name], about, {SENT: about}, partitions=1)


def add_skips(found: dict[str, Any], domain: Domain) -> None:
    type_name = EVENT_SKIPPED.format(domain.name)
    found["messages"][name := type_name.replace(".", "-")] = message(domain, type_name, EventSkipped)
    about = f"What people left out of views of {domain.name} for good, and why; each at least once, with its own id."
    add_channel(found, domain.skips_topic, [name], about, {SENT: about}, partitions=1)


def message(domain: Domain, type_name: str, model: type[BaseModel], told: Iterable[object] = ()) -> dict[str, Any]:
    data = {"properties": {"type": {"const": type_name}, "data": schema(f"{domain.name}.{model.__name__}")}}
    return {
        "name": type_name,
        "title": model.__name__,
        "summary": summary(model.__doc__, type_name),
        "contentType": "application/cloudevents+json",
        "payload": {"allOf": [schema(ENVELOPE), data]},
        "bindings": key(f"the stream, like {domain.stream('1')}"),
        **shown(told),
    }


def add_events(found: dict[str, Any], domain: Domain, known: Examples) -> None:
    names = {name: name.replace(".", "-") for name in domain.events}
    for type_name, model in domain.events.items():
        told = [orjson.loads(known.events[type_name])] if type_name in known.events else []
        found["messages"][names[type_name]] = message(domain, type_name, model, told)
    about = f"Every event of {domain.name}, in order of their positions within a partition."
    does = {SENT: about, RECEIVED: f"Views are folded of the events of {domain.name}."}
    add_channel(found, domain.events_topic, list(names.values()), about, does, partitions=domain.partitions)


def add_rows(found: dict[str, Any], domain: Domain, view: View[Any, Any], known: Examples) -> None:
    name = f"{domain.name}-{view.name}-v{view.version}"
    found["messages"][name] = {
        "name": name,
        "title": view.row.__name__,
        "summary": summary(view.row.__doc__, view.name),
        "contentType": "application/json",
        "payload": schema(f"{domain.name}.{view.row.__name__}"),
        "bindings": key(f"the {view.key}"),
        **shown([known.rows[view.name].model_dump(mode="json")] if view.name in known.rows else []),
    }
    about = f"The rows of {view.name} as they are now; a record without a value takes a row away."
    compacted = {"cleanup.policy": ["compact"]}
    does = {SENT: about, RECEIVED: f"The changes of {view.name} are told to who listens to them over HTTP."}
    settings = {"partitions": domain.partitions, "topicConfiguration": compacted}
    add_channel(found, domain.view_topic(view), [name], about, does, **settings)


def add_channel(
    found: dict[str, Any], topic: str, messages: list[str], about: str, does: Mapping[str, str], **settings: object
) -> None:
    """`does` are the actions of Headrace on the topic, each with what they are for."""
    name = topic.replace(".", "-")
    found["channels"][name] = {
        "address": topic,
        "description": about,
        "messages": {one: {"$ref": f"#/components/messages/{one}"} for one in messages},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0", **settings}},
    }
    for action, why in does.items():
        found["operations"][f"{name}-{PAST[action]}"] = {
            "action": action,
            "summary": why,
            "channel": {"$ref": f"#/channels/{name}"},
        }


def shown(told: Iterable[object]) -> dict[str, Any]:
    found = [{"payload": one} for one in told]
    return {"examples": found} if found else {}


def key(description: str) -> dict[str, Any]:
    return {"kafka": {"key": {**TEXT, "description": description}, "bindingVersion": "0.5.0"}}


def schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def summary(text: str | None, name: str) -> str:
    return " ".join((text or name).split())
