"""Event types are promises: what was recorded under a type must be readable for ever.

Compares the JSON schemas of event models, as pydantic derives them, and names each change as safe or breaking.
Whatever can't be shown to be safe is breaking.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from domains.kernel import IN_BODIES, Domain

Schema = Mapping[str, Any]
LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems")
UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
SAID_OTHERWISE = {"title", "description", "examples", "$defs", "default", "required", "additionalProperties", IN_BODIES}
COMPARED = {"type", "enum", "const", "anyOf", "oneOf", "properties", "items", "prefixItems", "$ref", *LOWER, *UPPER}
WIDER = {("integer", "number")}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between what was promised and what is read today; `path` leads to it from the event's type."""

    path: str
    what: str
    breaking: bool


def promises(domain: Domain) -> dict[str, Schema]:
    """The schema of each event type of a domain."""
    return {name: model.model_json_schema() for name, model in domain.events.items()}


def changes(before: Mapping[str, Schema], domain: Domain) -> list[Change]:
    """What has happened to event types since their schemas were `before`."""
    now = promises(domain)
    found: list[Change] = [Change(name, "is new", False) for name in now.keys() - before.keys()]
    for name, schema in before.items():
        if name in now:
            found += compare(Side(schema, schema), Side(now[name], now[name]), name)
        elif domain.upcaster(name) is not None:
            found.append(Change(name, "is brought to its next version by an upcaster", False))
        else:
            found.append(Change(name, "is gone, and no upcaster reads it", True))
    return sorted(found, key=lambda change: (not change.breaking, change.path))


@dataclass(frozen=True, slots=True)
class Side:
    """A schema, and the document in which its references lead somewhere."""

    schema: Schema
    document: Schema

    def at(self, schema: Schema) -> "Side":
        return Side(schema, self.document).resolved()

    def resolved(self) -> "Side":
        reference = self.schema.get("$ref")
        if reference is None:
            return self
        return Side(self.document["$defs"][str(reference).rpartition("/")[2]], self.document).resolved()

    def get(self, name: str) -> Any:
        return self.schema.get(name)

    @property
    def choices(self) -> list["Side"]:
        """The alternatives of a union, or of a list of types; one for anything else."""
        if isinstance(kinds := self.get("type"), list):
            return [Side({**self.schema, "type": kind}, self.document) for kind in kinds]
        union = self.get("anyOf") or self.get("oneOf")
        return [self.at(each) for each in union] if union else [self]

    @property
    def values(self) -> list[Any] | None:
        """The values that are listed, or None when they are not."""
        return [self.get("const")] if "const" in self.schema else self.get("enum")


def compare(old: Side, new: Side, path: str) -> Iterator[Change]:
    old, new = old.resolved(), new.resolved()
    if len(old.choices) == len(new.choices) == 1:
        yield from compare_one(old, new, path)
    else:
        yield from compare_choices(old, new, path)


def compare_choices(old: Side, new: Side, path: str) -> Iterator[Change]:
    """Each alternative of before must have one of today that reads it."""
    left = list(new.choices)
    for choice in old.choices:
        attempts = [(candidate, list(compare(choice, candidate, path))) for candidate in left]
        readers = [(candidate, found) for candidate, found in attempts if not any(each.breaking for each in found)]
        if readers:
            yield from readers[0][1]
            left.remove(readers[0][0])
        elif len(old.choices) == len(new.choices) and len(attempts) == 1:
            yield from attempts[0][1]
        else:
            yield Change(path, f"no longer takes {named(choice)}", True)
    yield from (Change(path, f"also takes {named(choice)}", False) for choice in left)


def named(side: Side) -> str:
    return str(side.get("type") or side.values or side.get("title") or "anything")


def compare_one(old: Side, new: Side, path: str) -> Iterator[Change]:
    yield from compare_type(old, new, path)
    yield from compare_values(old, new, path)
    yield from compare_bounds(old, new, path)
    for word in sorted((old.schema.keys() | new.schema.keys()) - COMPARED - SAID_OTHERWISE):
        if old.get(word) != new.get(word):
            yield Change(path, f"{word} was {old.get(word)!r}, is {new.get(word)!r}", word in new.schema)
    if old.get("type") == new.get("type") == "object":
        yield from compare_objects(old, new, path)
    if old.get("type") == new.get("type") == "array":
        yield from compare_arrays(old, new, path)


def compare_type(old: Side, new: Side, path: str) -> Iterator[Change]:
    before, after = old.get("type"), new.get("type")
    if before != after:
        wider = after is None or (before, after) in WIDER
        yield Change(path, f"was {before or 'anything'}, is {after or 'anything'}", not wider)


def compare_values(old: Side, new: Side, path: str) -> Iterator[Change]:
    before, after = old.values, new.values
    if after is None:
        if before is not None:
            yield Change(path, "is no longer a list of values", False)
        return
    if before is None:
        yield Change(path, f"takes only {after} now", True)
        return
    yield from (Change(path, f"no longer takes {value!r}", True) for value in before if value not in after)
    yield from (Change(path, f"also takes {value!r}", False) for value in after if value not in before)


def compare_bounds(old: Side, new: Side, path: str) -> Iterator[Change]:
    for word in (*LOWER, *UPPER):
        was, now = old.get(word), new.get(word)
        if was != now:
            tighter = was is None or (now is not None and (now > was if word in LOWER else now < was))
            yield Change(path, f"{word} was {was}, is {now}", now is not None and tighter)


def compare_objects(old: Side, new: Side, path: str) -> Iterator[Change]:
    before, after = old.get("properties") or {}, new.get("properties") or {}
    needed_before, needed = set(old.get("required") or ()), set(new.get("required") or ())
    open_now = new.get("additionalProperties") is not False
    for name in before.keys() - after.keys():
        yield Change(f"{path}.{name}", "is gone" + (", and is passed over" if open_now else ""), not open_now)
    for name in after.keys() - before.keys():
        yield Change(f"{path}.{name}", "is new and must be there" if name in needed else "is new", name in needed)
    for name in before.keys() & after.keys():
        yield from compare(old.at(before[name]), new.at(after[name]), f"{path}.{name}")
        if (name in needed) != (name in needed_before):
            yield Change(f"{path}.{name}", "must be there now" if name in needed else "may be left out", name in needed)
        elif name not in needed and before[name].get("default") != after[name].get("default"):
            was, now = before[name].get("default"), after[name].get("default")
            yield Change(f"{path}.{name}", f"where it was left out it meant {was!r}, now {now!r}", True)
    yield from compare_rest(old, new, path)


def compare_rest(old: Side, new: Side, path: str) -> Iterator[Change]:
    """What an object may hold besides its named fields: nothing, anything, or values of one schema."""
    before, after = old.get("additionalProperties"), new.get("additionalProperties")
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from compare(old.at(before), new.at(after), f"{path}.*")
    elif before != after:
        loosened = before is False or after in (None, True)
        yield Change(path, "takes further fields" if loosened else "takes fewer further fields", not loosened)


def compare_arrays(old: Side, new: Side, path: str) -> Iterator[Change]:
    before, after = old.get("prefixItems"), new.get("prefixItems")
    if before and after and len(before) == len(after):
        for number, (was, now) in enumerate(zip(before, after, strict=True)):
            yield from compare(old.at(was), new.at(now), f"{path}[{number}]")
    elif before or after:
        yield Change(path, "is no longer of the same places", True)
    yield from compare(old.at(old.get("items") or {}), new.at(new.get("items") or {}), f"{path}[]")
