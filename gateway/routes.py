"""Where a request goes: derived from the domains' declarations, never from what a client sends."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

from domains.kernel import Composition, Domain, Part
from infra.web import Problem

Side = Literal["write", "read"]
Kind = Literal["command", "read", "admin"]
SIDES: tuple[Side, ...] = ("write", "read")
PREFIX = b"/v1/"
EVENTS = "events"
OPERATIONS = "operations"
OPERATION = f"/v1/{OPERATIONS}/{{id}}"
STREAMS_READ = "streams:read"
SIMPLE = re.compile(rb"[A-Za-z0-9_-]+")
FORBIDDEN = (".", "..")
SEPARATOR_OR_CONTROL = re.compile(r"[/\\\x00-\x1f\x7f-\x9f]")
MALFORMED = re.compile(rb"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Target:
    """The service that answers, the scope that it takes, and the declared route for logs and measurements."""

    domain: str
    side: Side
    scope: str
    template: str

    @property
    def kind(self) -> Kind:
        """What it counts as in the rate limits."""
        if self.scope == STREAMS_READ:
            return "admin"
        return "command" if self.side == "write" and self.template != OPERATION else "read"


@dataclass(frozen=True, slots=True)
class Composed:
    """What is answered from several services; `scope` is the declaring domain's, `scopes` are those of the parts."""

    composition: Composition
    key: str
    scope: str
    scopes: Sequence[str]
    kind: Kind = "read"

    @property
    def template(self) -> str:
        return f"/v1/{self.composition.things}/{{key}}/{self.composition.name}"


class Routes:
    """The addresses of all domains. What a domain calls its own comes before what others compose."""

    def __init__(self, domains: Mapping[str, Domain]) -> None:
        self._domains = {name: targets(domain) for name, domain in domains.items()}
        self._composed = {
            (one.things, one.name): (one, f"{domain.name}:read", [part_scope(domains, part) for part in one.parts])
            for domain in domains.values()
            for one in domain.compositions
        }

    def find(self, method: str, raw_path: bytes) -> Target | Composed:
        """The target of a request. Raises `Problem` 400, 404 or 405."""
        segments = [plain(segment) for segment in raw_path.removeprefix(PREFIX).split(b"/")]
        if segments[0] == OPERATIONS:
            segments = [operated(segments), *segments]
        found = self._domains.get(segments[0])
        by_method: Mapping[str, Target | Composed] = found.by_method(segments[1:]) if found else {}
        if not by_method and len(segments) == 3 and (segments[0], segments[2]) in self._composed:
            composition, scope, scopes = self._composed[segments[0], segments[2]]
            by_method = {"GET": Composed(composition, segments[1], scope, scopes)}
        if not by_method:
            raise nothing()
        if method not in by_method:
            allow = ", ".join(sorted(by_method))
            raise Problem(405, "method-not-allowed", f"this address knows {allow} only", headers={"allow": allow})
        return by_method[method]


@dataclass(frozen=True, slots=True)
class Targets:
    """The addresses of one domain. A view's name comes before an aggregate's id of the same spelling."""

    commands: Mapping[str, Target]
    lists: Mapping[str, Target]
    rows: Mapping[str, Target]
    events: Target
    operation: Target

    def by_method(self, segments: list[str]) -> Mapping[str, Target]:
        found: dict[str, Target] = {}
        match segments:
            case [str(first), _] if first == OPERATIONS:
                found["GET"] = self.operation
            case [view] if view in self.lists:
                found["GET"] = self.lists[view]
            case [first, last]:
                if first in self.rows:
                    found["GET"] = self.rows[first]
                elif last == EVENTS:
                    found["GET"] = self.events
                if last in self.commands:
                    found["POST"] = self.commands[last]
        return found


def targets(domain: Domain) -> Targets:
    name, base = domain.name, f"/v1/{domain.name}"
    scopes = {view.name: domain.view_scope(view.name) for view in domain.views}
    return Targets(
        commands={
            one: Target(name, "write", domain.command_scope(one), f"{base}/{{id}}/{one}") for one in domain.commands
        },
        lists={view: Target(name, "read", scope, f"{base}/{view}") for view, scope in scopes.items()},
        rows={view: Target(name, "read", scope, f"{base}/{view}/{{key}}") for view, scope in scopes.items()},
        operation=Target(name, "write", f"{name}:write", OPERATION),
        events=Target(name, "write", STREAMS_READ, f"{base}/{{id}}/{EVENTS}"),
    )


def part_scope(domains: Mapping[str, Domain], part: Part) -> str:
    domain = domains.get(part.domain)
    return domain.view_scope(part.view) if domain else f"{part.domain}:read"


def operated(segments: list[str]) -> str:
    """The domain whose operation this is: its name stands before the last hyphen."""
    return segments[1].rpartition("-")[0] if len(segments) == 2 else ""


def plain(segment: bytes) -> str:
    """A path segment, decoded; refused when a service could read it as something else than a name."""
    if SIMPLE.fullmatch(segment):
        return segment.decode()
    if not segment:
        raise nothing()
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise unreadable() from None
    if text in FORBIDDEN or SEPARATOR_OR_CONTROL.search(text) or MALFORMED.search(segment):
        raise unreadable()
    return text


def nothing() -> Problem:
    return Problem(404, "not-found", "there is nothing at this address")


def unreadable() -> Problem:
    return Problem(400, "invalid-path", "the address has a segment that no address here has")
