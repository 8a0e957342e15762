"""What has changed between two OpenAPI documents of one version, and whether callers of the older would notice.

A request that was right must be right still; an answer must be one that its reader expects. Readers pass over fields
that they do not know, so further fields in an answer are safe.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from domains.promises import Change, Side, compare
from gateway.schemas import ASKED_WITH

Document = Mapping[str, Any]
Headers = Mapping[str, Mapping[str, Any]]
METHODS = ("get", "head", "put", "post", "delete", "patch")


def changes(old: Document, new: Document) -> list[Change]:
    """The differences, the breaking ones first."""
    found = [*compare_servers(old, new, "servers"), *compare_schemes(old, new)]
    found += [change for path in sorted(old["paths"]) for change in compare_path(old, new, path)]
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
            yield from compare_operation(Operation(old, before, method), Operation(new, after, method), place)


def compare_servers(old: Document, new: Document, place: str) -> Iterator[Change]:
    """Under which addresses all of this lies: an address is that of a server and a path."""
    before, after = (
        dict.fromkeys(one["url"].rstrip("/") for one in told.get("servers") or [{"url": "/"}]) for told in (old, new)
    )
    for url in before:
        if url not in after:
            yield Change(place, f"{url or '/'} is gone", True)
    for url in after:
        if url not in before:
            yield Change(place, f"{url or '/'} is new", False)


def compare_schemes(old: Document, new: Document) -> Iterator[Change]:
    """How a caller shows who he is."""
    before, after = (told.get("components", {}).get("securitySchemes", {}) for told in (old, new))
    for name in before.keys() & after.keys():
        for word in sorted((before[name].keys() | after[name].keys()) - {"description"}):
            was, is_now = before[name].get(word), after[name].get(word)
            if was != is_now:
                yield Change(f"security {name}", f"{word} was {was}, is {is_now}", True)


class Operation:
    """One operation of a path, and the document in which its references lead somewhere."""

    def __init__(self, document: Document, path: Mapping[str, Any], method: str) -> None:
        operation = path[method]
        self._definitions = {"$defs": document["components"]["schemas"]}
        self._headers = document["components"].get("headers", {})
        self.told = operation
        given = [*path.get("parameters", ()), *operation.get("parameters", ())]
        self.parameters = {(one["in"], known_as(one)): one for one in given}
        self.body = operation.get("requestBody", {"required": False, "content": {}})
        # Any of these is enough, and each says which scopes of which scheme it takes together; an empty one: none.
        self.security = operation.get("security", document.get("security")) or [{}]
        own = [told for told in (operation, path) if "servers" in told]
        self.servers, self.has_servers = (own or [document])[0], bool(own)

    def headers(self, answer: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        """The headers of an answer, by their names in small letters."""
        found = answer.get("headers", {}).items()
        return {
            name.lower(): self._headers[one["$ref"].rpartition("/")[2]] if "$ref" in one else one for name, one in found
        }

    def side(self, schema: Mapping[str, Any]) -> Side:
        return Side(schema, self._definitions)

    def reader(self, schema: Mapping[str, Any]) -> Side:
        """As a caller reads an answer: what he does not know is passed over."""
        return Side(opened(schema), self._opened)

    @cached_property
    def _opened(self) -> dict[str, Any]:
        found: dict[str, Any] = opened(self._definitions)
        return found


def compare_operation(old: Operation, new: Operation, place: str) -> Iterator[Change]:
    if old.told["operationId"] != new.told["operationId"]:
        yield Change(place, f"was named {old.told['operationId']}", True)
    if old.has_servers or new.has_servers:
        yield from compare_servers(old.servers, new.servers, f"{place} servers")
    yield from compare_security(old, new, place)
    yield from compare_parameters(old, new, place)
    yield from compare_body(old, new, place)
    yield from compare_answers(old, new, place)


def compare_security(old: Operation, new: Operation, place: str) -> Iterator[Change]:
    """Who was let in before must be let in by what he has."""
    for one in old.security:
        if not any(enough(one, demanded) for demanded in new.security):
            yield Change(place, f"{shown(one)} is not enough any more", True)
    for one in new.security:
        if not any(enough(one, demanded) for demanded in old.security):
            yield Change(place, f"{shown(one)} is enough now", False)


def enough(given: Mapping[str, Sequence[str]], demanded: Mapping[str, Sequence[str]]) -> bool:
    return all(scheme in given and {*scopes} <= {*given[scheme]} for scheme, scopes in demanded.items())


def shown(given: Mapping[str, Sequence[str]]) -> str:
    """What a caller has who fulfils this."""
    return " and ".join(" ".join((f"a {scheme}", *scopes)) for scheme, scopes in given.items()) or "nothing"


def known_as(parameter: Mapping[str, Any]) -> str:
    name: str = parameter["name"]
    return name.lower() if parameter["in"] == "header" else name


def compare_parameters(old: Operation, new: Operation, place: str) -> Iterator[Change]:
    for where, name in sorted(old.parameters.keys() | new.parameters.keys()):
        before, after = old.parameters.get((where, name)), new.parameters.get((where, name))
        spot = f"{place} {where} {name}"
        if after is None:
            yield Change(spot, "is gone", True)
        elif before is None:
            required = after.get("required", False)
            yield Change(spot, "is new and must be there" if required else "is new", required)
        else:
            if after.get("required") and not before.get("required"):
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
    unknown = {new.parameters[one]["name"] for one in new.parameters.keys() - old.parameters.keys()}
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
        yield from compare_headers(
            old, new, old.headers(before[status]), new.headers(after[status]), f"{place} {status}"
        )
        for kind, shown in before[status].get("content", {}).items():
            now = after[status].get("content", {}).get(kind)
            if now is None:
                yield Change(f"{place} {status}", f"is no longer {kind}", True)
            else:
                # The other way round: whoever reads as before must be able to read what is written now.
                told = without_unknown(now["schema"], unknown)
                for found in compare(new.reader(told), old.reader(shown["schema"]), f"{place} {status}"):
                    yield Change(found.path, f"a reader as before: {found.what}", found.breaking)


def compare_headers(old: Operation, new: Operation, before: Headers, after: Headers, place: str) -> Iterator[Change]:
    for name in sorted(before):
        if name not in after:
            yield Change(place, f"no longer has the header {name}", True)
            continue
        if before[name].get("required") and not after[name].get("required"):
            yield Change(f"{place} header {name}", "may be missing", True)
        for found in compare(
            new.reader(after[name]["schema"]), old.reader(before[name]["schema"]), f"{place} header {name}"
        ):
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
