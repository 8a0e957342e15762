"""What stands on a domain's topics for the examples of its commands.

It is made by what decides, folds and records in earnest, so that documents show nothing else than what is published.
What is said about persons is sealed as nothing, and for nobody.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from domains.codec import decode, encode
from domains.command_records import operation_id, record, sealed
from domains.handler import Request as Asked
from domains.handler import parse
from domains.kernel import Command, Domain, Event, Row
from domains.personal import subjects
from eventstore.cloudevents import encode_value
from eventstore.personal.sealing import KEY_BYTES, NOBODY, DataKey, blank
from eventstore.records import Metadata, RecordedEvent

ID = "1"


class Blank(DataKey):
    """The key of nobody."""

    def seal(self, text: str, stream: str, version: int, field: str) -> str:  # noqa: ARG002  # it is what is left out
        return blank(stream, version, field)


KEY = Blank(NOBODY, bytes(KEY_BYTES))


@dataclass(frozen=True, slots=True)
class Examples:
    """The values of records: of commands by their name and the version of their body, of events by their type, and
    the rows of views by their name."""

    commands: dict[tuple[str, int], bytes] = field(default_factory=dict)
    events: dict[str, bytes] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream so far."""

    state: Any
    recorded: Sequence[RecordedEvent] = ()
    events: Sequence[Event] = ()


def examples(domain: Domain) -> Examples:
    """One of each kind to which the examples lead, one after another: a domain without examples has none."""
    found, waiting = Examples(), deque([Stream(domain.decider.initial)])
    while waiting:
        stream = waiting.popleft()
        for asked in declared(domain):
            try:
                grown = after(domain, stream, asked)
                rows = folded(domain, grown)
            except Exception:  # noqa: S112  # an example that leads to nothing must not take the documents from the air
                continue
            new = grown.recorded[len(stream.recorded) :]
            if not new:
                continue
            found.commands.setdefault((asked.command, asked.form), published(domain, asked, new[0]))
            if {event.type for event in new} - found.events.keys():
                waiting.append(grown)
            for event in new:
                found.events.setdefault(event.type, encode_value(event, f"/{domain.name}"))
            for view, row in rows.items():
                found.rows.setdefault(view, row)
    return found


def declared(domain: Domain) -> Iterator[Asked]:
    """The examples of all commands, in the forms of all versions."""
    for version in domain.versions:
        for name in domain.commands:
            for body in version.body(domain, name).model_json_schema().get("examples", ()):
                once = f"{name} {version.number}"
                yield Asked(ID, name, orjson.dumps(body), idempotency_key=once, form=version.number)


def after(domain: Domain, stream: Stream, asked: Asked) -> Stream:
    """The stream after a command. Raises whatever the domain does."""
    name, command = domain.stream(asked.id), keyed(parse(domain, asked))
    state, recorded, events = stream.state, [*stream.recorded], [*stream.events]
    for event in domain.decider.decide(stream.state, command):
        version = len(recorded) + 1
        new = encode(domain, event, name, version, Metadata())
        id = uuid5(NAMESPACE_URL, f"headrace:{name}/{version}/{new.type}")
        # In a store of which it is the first stream, the versions are the positions.
        recorded.append(RecordedEvent(version, name, version, id, new.type, new.time, new.time, new.data, new.metadata))
        events.append(decode(domain, recorded[-1]))
        state = domain.decider.evolve(state, events[-1])
    return Stream(state, recorded, events)


def keyed(command: Command) -> Command:
    given = {name: value for name in subjects(type(command)) if (value := getattr(command, name)) is not None}
    return command.model_copy(update={name: value.keyed(KEY) for name, value in given.items()})


def folded(domain: Domain, stream: Stream) -> dict[str, Row]:
    """A row of each view in which the stream has one."""
    found: dict[str, Row] = {}
    for view in domain.views:
        rows: dict[str, Row | None] = {}
        for event in stream.events:
            if (key := view.key_of(event)) is not None:
                rows[key] = view.project(rows.get(key), event)
        there = [row for row in rows.values() if row is not None]
        found |= {view.name: there[0]} if there else {}
    return found


def published(domain: Domain, asked: Asked, effect: RecordedEvent) -> bytes:
    """The record of a command on its topic; it was asked when its effect happened."""
    command = parse(domain, asked)
    about_persons = any(getattr(command, name) is not None for name in subjects(type(command)))
    told = sealed(domain, asked, [KEY]) if about_persons else asked
    return record(domain, operation_id(domain, asked), told, effect.time)
