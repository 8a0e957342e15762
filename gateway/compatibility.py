"""What has changed between two OpenAPI documents of one version, and whether callers of the older would notice.

A request that was right must be right still; an answer must be one that its reader expects. Readers pass over fields
that they do not know, so further fields in an answer are safe.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from domains.promises import Change, Side, compare
from gateway.schemas import ASKED_WITH

Document = Mapping[str, Any]
METHODS = ("get", "head", "put", "post", "delete", "patch")


def changes(old: Document, new: Document) -> list[Change]:
    """The differences, the breaking ones first."""
    found = [change for path in sorted(old["paths"]) for change in compare_path(old, new, path)]
    found += [Change(path, "is new", False) for path in sorted(new["paths"].keys() - old["paths"].keys())]
    return sorted(found, key=lambda change: (not change.breaking, change.path))


def compare_path(old: Document, new: Document, path: str) -> Iterator[Change]:
    if path not in new["paths"]:
        yield Change(path, "is gone", True)
        return
    before, after = old["paths"][path], new["paths"][path]
    for method in METHODS:
        place = f"{method.upper()} {path}"
        if method in before and method not in after:
            yield Change(place, "is gone", True)
        elif method in before:
            yield from compare_operation(Operation(old, before[method]), Operation(new, after[method]), place)


class Operation:
    """One operation, and the document in which its references lead somewhere."""

    def __init__(self, document: Document, operation: Mapping[str, Any]) -> None:
        self._definitions = {"$defs": document["components"]["schemas"]}
        self.told = operation
        self.parameters = {(one["in"], one["name"]): one for one in operation.get("parameters", ())}
        self.body = operation.get("requestBody", {"required": False, "content": {}})
        self.scopes = {scope for one in operation.get("security", ()) for scope in one.get("token", ())}

    def side(self, schema: Mapping[str, Any]) -> Side:
        return Side(schema, self._definitions)

    def reader(self, schema: Mapping[str, Any]) -> Side:
        """As a caller reads an answer: what he does not know is passed over."""
        definitions: dict[str, Any] = opened(self._definitions)
        return Side(opened(schema), definitions)


def compare_operation(old: Operation, new: Operation, place: str) -> Iterator[Change]:
    if old.told["operationId"] != new.told["operationId"]:
        yield Change(place, f"was named {old.told['operationId']}", True)
    for scope in sorted(new.scopes - old.scopes):
        yield Change(place, f"needs the scope {scope}", True)
    yield from compare_parameters(old, new, place)
    yield from compare_body(old, new, place)
    yield from compare_answers(old, new, place)


def compare_parameters(old: Operation, new: Operation, place: str) -> Iterator[Change]:
    for where, name in sorted(old.parameters.keys() | new.parameters.keys()):
        before, after = old.parameters.get((where, name)), new.parameters.get((where, name))
        spot = f"{place} {where} {name}"
        if after is None:
            yield Change(spot, "is gone", True)
        elif before is None:
            yield Change(spot, "is new and must be there" if after["required"] else "is new", after["required"])
        else:
            if after["required"] and not before["required"]:
                yield Change(spot, "must be there now", True)
            for word in ("style", "explode"):
                if before.get(word) != after.get(word):
                    yield Change(spot, f"{word} was {before.get(word)}, is {after.get(word)}", True)
            yield from compare(old.side(before["schema"]), new.side(after["schema"]), spot)


def compare_body(old: Operation, new: Operation, place: str) -> Iterator[Change]:
    if new.body["required"] and not old.body["required"]:
        yield Change(place, "needs a body now", True)
    for kind, before in old.body["content"].items():
        after = new.body["content"].get(kind)
        if after is None:
            yield Change(place, f"no longer takes {kind}", True)
        else:
            yield from compare(old.side(before["schema"]), new.side(after["schema"]), f"{place} body")


def compare_answers(old: Operation, new: Operation, place: str) -> Iterator[Change]:
    before, after = old.told["responses"], new.told["responses"]
    unknown = {name for _, name in new.parameters.keys() - old.parameters.keys()}
    for status in before.keys() | after.keys():
        if status not in after:
            yield Change(f"{place} {status}", "is no longer answered", True)
            continue
        if after[status].get(ASKED_WITH) in unknown:
            continue
        if status not in before:
            # What stood for any other answer stands for this one, if it has its form.
            yield Change(f"{place} {status}", "is new", "default" not in before or not status.startswith(("4", "5")))
            before = {**before, status: before.get("default", {})}
        for name in before[status].get("headers", {}).keys() - after[status].get("headers", {}).keys():
            yield Change(f"{place} {status}", f"no longer has the header {name}", True)
        for kind, shown in before[status].get("content", {}).items():
            now = after[status].get("content", {}).get(kind)
            if now is None:
                yield Change(f"{place} {status}", f"is no longer {kind}", True)
            else:
                # The other way round: whoever reads as before must be able to read what is written now.
                told = without_unknown(now["schema"], unknown)
                for found in compare(new.reader(told), old.reader(shown["schema"]), f"{place} {status}"):
                    yield Change(found.path, f"a reader as before: {found.what}", found.breaking)


def without_unknown(schema: Any, unknown: Collection[str]) -> Any:
    """A schema without what is answered only to a caller who asks with a parameter that he does not know."""
    if isinstance(schema, list):
        return [without_unknown(part, unknown) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    known = [one for one in schema.get("anyOf", ()) if one.get(ASKED_WITH) not in unknown]
    if len(known) == 1:
        return without_unknown(known[0], unknown)
    return {word: without_unknown(known if word == "anyOf" else part, unknown) for word, part in schema.items()}


def opened(schema: Any) -> Any:
    """A schema that takes further fields."""
    if isinstance(schema, Mapping):
        return {
            name: opened(part) for name, part in schema.items() if name != "additionalProperties" or part is not False
        }
    return [opened(part) for part in schema] if isinstance(schema, list) else schema
