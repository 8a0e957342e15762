"""History regression: recorded streams, and what the code of then made of them, held against the code of now."""

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Any
from uuid import UUID

from domains.codec import decode
from domains.errors import InvalidCommand, NotADomain, Refused, UnreadableEvent
from domains.handler import Request, parse
from domains.kernel import Domain, Event
from domains.personal import Personal, personal_fields
from eventstore.personal.sealing import PREFIX, blank
from eventstore.records import NOTHING, RecordedEvent

NO_ID = UUID(int=0)
# What the code under test may raise when it is wrong.
FAILURES = (NotADomain, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError)
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the code of now does something else: `place` leads to it in the stream's history."""

    stream: str
    place: str
    was: Any
    now: Any


def record(domain: Domain, stream: Sequence[RecordedEvent], masked: "Mask | None" = None) -> Json:
    """One stream as the history keeps it: its events, and what today's code makes of them.

    `states` are digests of the state after each event, `state` is the last one, `rows` what each view has of this
    stream alone, and `decisions` what became of each command's examples at each version.
    """
    events = [plain(event) for event in stream]
    name = stream[0].stream
    if masked is not None:
        events = [{**event, "data": masked(event["data"])} for event in events]
        name = domain.stream(str(events[0]["data"][domain.identity]))
    events = [{**event, "data": blanked(event["data"], name, event["version"])} for event in events]
    commands = [
        {"command": command, "body": body}
        for command, model in domain.commands.items()
        for body in model.model_json_schema().get("examples", ())
    ]
    kept = {"stream": name, "events": events, "commands": commands}
    return {**kept, **outcome(domain, kept)}


def blanked(data: Json, stream: str, version: int) -> Json:
    """The data of an event without what is sealed in it."""
    return {
        name: blank(stream, version, name) if isinstance(value, str) and value.startswith(PREFIX) else value
        for name, value in data.items()
    }


def plain(event: RecordedEvent) -> Json:
    return {
        "version": event.version,
        "type": event.type,
        "time": event.time.isoformat(),
        "data": json.loads(event.data),
    }


def recorded(stream: str, event: Json) -> RecordedEvent:
    time = datetime.fromisoformat(event["time"])
    data = json.dumps(event["data"]).encode()
    return RecordedEvent(0, stream, event["version"], NO_ID, event["type"], time, time, data, NOTHING)


def outcome(domain: Domain, kept: Json) -> Json:
    """What today's code makes of a kept stream. Raises `UnreadableEvent`."""
    state, rows = domain.decider.initial, dict[str, dict[str, Any]]()
    states, decisions = [], [decided(domain, state, kept)]
    for event in kept["events"]:
        fact = decode(domain, recorded(kept["stream"], event))
        state = domain.decider.evolve(state, fact)
        states.append(hashlib.sha256(json.dumps(dumped(state), sort_keys=True).encode()).hexdigest()[:16])
        decisions.append(decided(domain, state, kept))
        for view in domain.views:
            fold(view, rows.setdefault(f"{view.name} v{view.version}", {}), fact)
    shown = {name: {key: dumped(row) for key, row in held.items()} for name, held in rows.items()}
    return {"state": dumped(state), "states": states, "rows": shown, "decisions": decisions}


def fold(view: Any, rows: dict[str, Any], fact: Any) -> None:
    key = view.key_of(fact)
    if key is None:
        return
    row = view.project(rows.get(key), fact)
    if row is None:
        rows.pop(key, None)
    else:
        rows[key] = row


def decided(domain: Domain, state: Any, kept: Json) -> list[Json]:
    """What becomes of each kept command in a state."""
    id = kept["stream"].removeprefix(f"{domain.name}-")
    return [decide(domain, state, id, each["command"], each["body"]) for each in kept["commands"]]


def decide(domain: Domain, state: Any, id: str, command: str, body: Json) -> Json:
    if command not in domain.commands:
        return {"command": command, "unknown": True}
    try:
        asked = parse(domain, Request(id, command, json.dumps(body).encode()))
        events = domain.decider.decide(state, asked)
    except Refused as refused:
        return {"command": command, "refused": refused.code}
    except InvalidCommand as error:
        return {"command": command, "invalid": [fault["field"] for fault in error.faults]}
    told = [{"type": domain.type_of(each), "data": dumped(hidden(each, domain.stream(id)))} for each in events]
    return {"command": command, "events": told}


def hidden(event: Event, stream: str) -> Event:
    """An event that was decided upon, without what it says about persons."""
    given = [name for name in personal_fields(type(event)) if getattr(event, name) is not None]
    return event.model_copy(update={name: Personal.sealed(blank(stream, 0, name)) for name in given})


def dumped(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else json.loads(json.dumps(value, default=str))


def check(domain: Domain, kept: Json) -> Iterator[Difference]:
    """What today's code makes otherwise of a kept stream."""
    stream = kept["stream"]
    try:
        now = outcome(domain, kept)
    except UnreadableEvent as error:
        yield Difference(stream, f"events[{error.version}]", "readable", str(error))
        return
    except FAILURES as error:
        yield Difference(stream, "fold", "folds", f"{type(error).__name__}: {str(error)[:200]}")
        return
    turned = next((n for n, (a, b) in enumerate(zip(kept["states"], now["states"], strict=True), 1) if a != b), None)
    if turned is not None:
        found = list(differing(kept["state"], now["state"], f"state from version {turned}"))
        yield from (Difference(stream, *each) for each in found)
        if not found:
            yield Difference(
                stream, f"state at version {turned}", "as recorded", "another, though the last is the same"
            )
    for part in ("rows", "decisions"):
        yield from (Difference(stream, *each) for each in differing(kept[part], now[part], part))


def differing(was: Any, now: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """The innermost places at which two JSON values differ."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(was.keys() | now.keys()):
            yield from differing(was.get(key), now.get(key), f"{place}.{key}")
    elif isinstance(was, list) and isinstance(now, list):
        for number, (before, after) in enumerate(zip_longest(was, now)):
            yield from differing(before, after, f"{place}[{number}]")
    elif was != now:
        yield place, was, now


class Mask:
    """Replaces the text in some fields, wherever they are: the same text becomes the same pseudonym."""

    def __init__(self, fields: Iterable[str], secret: bytes) -> None:
        self._fields, self._secret = frozenset(fields), secret

    def __call__(self, value: Any, hide: bool = False) -> Any:
        if isinstance(value, dict):
            return {key: self(each, hide or key in self._fields) for key, each in value.items()}
        if isinstance(value, list):
            return [self(each, hide) for each in value]
        if hide and isinstance(value, str):
            return f"x{hmac.digest(self._secret, value.encode(), 'sha256').hex()[:12]}"
        return value


def chosen(streams: Iterable[Sequence[RecordedEvent]], for_each_shape: int) -> Iterator[Sequence[RecordedEvent]]:
    """Some streams of each shape: of each sequence of event types."""
    seen: dict[tuple[str, ...], int] = {}
    for stream in streams:
        shape = tuple(event.type for event in stream)
        seen[shape] = seen.get(shape, 0) + 1
        if seen[shape] <= for_each_shape:
            yield stream
