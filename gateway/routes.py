"""Where a request goes: derived from the domains' declarations, never from what a client sends."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import cache, cached_property
from string import ascii_letters, digits
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from domains.admin import PROJECTIONS, VERBS, address
from domains.kernel import Domain, Version
from gateway.versions import Served, served
from infra.web import Problem

Side = Literal["write", "read", "rebuild"]
Kind = Literal["command", "read", "admin"]
SIDES: tuple[Side, ...] = ("write", "read", "rebuild")
PREFIX = tuple(b"/v%d/" % number for number in range(1, 10))
DOCUMENTATION = "/docs"
EVENTS = "events"
FIRST = "v1"
OPERATIONS = "operations"
OPERATION = f"/v1/{OPERATIONS}/{{id}}"
STREAM = "stream"
STREAMS_READ = "streams:read"
SIMPLE = (ascii_letters + digits + "_-/").encode()
IN_PATHS = "/%:@!$&'()*+,;="
FORBIDDEN = (".", "..")
SEPARATOR_OR_CONTROL = re.compile(r"[/\\\x00-\x1f\x7f-\x9f]")
MALFORMED = re.compile(rb"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Target:
    """The service that answers, the scope that it takes, and the declared route for logs and measurements.

    `version` is the one that was asked for, and `newest` the number of the newest that there is. The answer of an
    `endless` one goes on until somebody ends it. What is `admin` is asked for by operators, at their port.
    """

    domain: str
    side: Side
    scope: str
    template: str
    version: Version
    newest: int
    endless: bool = False
    admin: bool = False

    @cached_property
    def kind(self) -> Kind:
        """What it counts as in the rate limits."""
        if self.admin or self.scope == STREAMS_READ:
            return "admin"
        return "command" if self.side == "write" and not self.template.startswith(OPERATION) else "read"

    def notes(self, raw_path: bytes) -> list[tuple[bytes, bytes]]:
        """What each answer of a version says that is to go: since when and until when (RFC 9745, RFC 8594)."""
        return notes(self.version, self.newest, raw_path, admin=self.admin)


@dataclass(frozen=True, slots=True)
class Composed:
    """What is answered from several services."""

    served: Served
    key: str
    kind: Kind = "read"

    @property
    def scope(self) -> str:
        return self.served.scope

    @property
    def template(self) -> str:
        return self.served.template

    def notes(self, raw_path: bytes) -> list[tuple[bytes, bytes]]:
        return notes(self.served.version, self.served.newest, raw_path)


class Routes:
    """The addresses of all domains, in each of their versions; with `admin`, those that are for operators.

    What a domain calls its own comes before what others compose.
    """

    def __init__(self, domains: Mapping[str, Domain], *, admin: bool = False) -> None:
        targets_of = admin_targets if admin else targets
        self._admin = admin
        self._versions = {
            (f"v{version.number}", name): (version, domain.versions[-1].number)
            for name, domain in domains.items()
            for version in domain.versions
        }
        self._domains: dict[tuple[str, ...], Targets | AdminTargets] = {
            (f"v{version.number}", name): targets_of(domain, version)
            for name, domain in domains.items()
            for version in domain.versions
        }
        self._composed = {
            (f"v{one.version.number}", one.composition.things, one.composition.name): one
            for one in (() if admin else served(domains))
        }

    def each(self) -> Iterator[tuple[str, Target]]:
        """Each target that one service answers, with its method."""
        return (found for targets in self._domains.values() for found in targets.each())

    def notes(self, raw_path: bytes) -> list[tuple[bytes, bytes]]:
        """What an answer says at an address that nothing was found at, but that lies in a version that is to go."""
        version, domain, *_ = (*map(readable, raw_path[1:].split(b"/", 2)), "")
        known = self._versions.get((version, domain))
        return notes(*known, raw_path, admin=self._admin) if known else []

    def find(self, method: str, raw_path: bytes) -> Target | Composed:
        """The target of a request. Raises `Problem` 400, 404 or 405."""
        if raw_path.translate(None, SIMPLE) or b"//" in raw_path or raw_path.endswith(b"/"):
            version, domain, *rest = map(plain, raw_path[1:].split(b"/"))
        else:
            _, version, domain, *rest = raw_path.decode().split("/")
        if domain == OPERATIONS and version == FIRST:
            domain, rest = operated([domain, *rest]), [domain, *rest]
        found = self._domains.get((version, domain))
        # What is asked for most is found without a look at all else that could be there.
        if method == "POST" and found and len(rest) == 2 and rest[0] != OPERATIONS and rest[1] in found.commands:
            return found.commands[rest[1]]
        by_method: Mapping[str, Target | Composed] = found.by_method(rest) if found else {}
        if not by_method and len(rest) == 2 and (version, domain, rest[1]) in self._composed:
            by_method = {"GET": Composed(self._composed[version, domain, rest[1]], rest[0])}
        target = by_method.get("GET" if method == "HEAD" else method)
        if target is None:
            raise not_so(by_method) if by_method else nothing()
        return target


@dataclass(frozen=True, slots=True)
class Targets:
    """The addresses of one domain.

    A view's name comes before an aggregate's id of the same spelling, and its stream before a key of that spelling.
    """

    commands: Mapping[str, Target]
    lists: Mapping[str, Target]
    rows: Mapping[str, Target]
    streams: Mapping[str, Target]
    events: Target
    operation: Target
    following: Target

    def by_method(self, segments: list[str]) -> Mapping[str, Target]:
        if len(segments) == 1:
            (view,) = segments
            return {"GET": self.lists[view]} if view in self.lists else {}
        if segments[:1] == [OPERATIONS]:
            following = len(segments) == 3 and segments[2] == STREAM
            return {"GET": self.operation} if len(segments) == 2 else {"GET": self.following} if following else {}
        if len(segments) != 2:
            return {}
        found: dict[str, Target] = {}
        first, last = segments
        if first in self.rows:
            found["GET"] = self.streams[first] if last == STREAM else self.rows[first]
        elif last == EVENTS:
            found["GET"] = self.events
        if last in self.commands:
            found["POST"] = self.commands[last]
        return found

    def each(self) -> Iterator[tuple[str, Target]]:
        for command in self.commands.values():
            yield "POST", command
        asked = (self.lists, self.rows, self.streams)
        for target in (*(one for kind in asked for one in kind.values()), self.events, self.operation, self.following):
            yield "GET", target


@dataclass(frozen=True, slots=True)
class AdminTargets:
    """The addresses of one domain that are for operators: commands, and verbs of views."""

    commands: Mapping[str, Target]
    verbs: Mapping[tuple[str, str], Target]

    def by_method(self, segments: list[str]) -> Mapping[str, Target]:
        match segments:
            case [_, command] if command in self.commands:
                return {"POST": self.commands[command]}
            case [str(first), view, verb] if first == PROJECTIONS and (view, verb) in self.verbs:
                return {"POST": self.verbs[view, verb]}
        return {}

    def each(self) -> Iterator[tuple[str, Target]]:
        for target in (*self.commands.values(), *self.verbs.values()):
            yield "POST", target


def admin_targets(domain: Domain, version: Version) -> AdminTargets:
    name, number, newest = domain.name, version.number, domain.versions[-1].number

    def target(side: Side, one: str, path: str) -> Target:
        return Target(name, side, domain.admin[one], path, version, newest, admin=True)

    return AdminTargets(
        commands={
            one: target("write", one, f"/v{number}/{name}/{{id}}/{one}")
            for one in domain.commands
            if one in domain.admin
        },
        verbs={
            (view.name, verb): target(VERBS[verb].side, verb, address(name, number, view.name, verb))
            for view in domain.views
            for verb in VERBS
            if verb in domain.admin
        },
    )


def targets(domain: Domain, version: Version) -> Targets:
    name, base, newest = domain.name, f"/v{version.number}/{domain.name}", domain.versions[-1].number
    scopes = {view.name: domain.view_scope(view.name) for view in domain.views}

    def target(side: Side, scope: str, path: str, *, endless: bool = False) -> Target:
        return Target(name, side, scope, f"{base}/{path}", version, newest, endless)

    return Targets(
        commands={
            one: target("write", domain.command_scope(one), f"{{id}}/{one}")
            for one in domain.commands
            if one not in domain.admin
        },
        lists={view: target("read", scope, view) for view, scope in scopes.items()},
        rows={view: target("read", scope, f"{view}/{{key}}") for view, scope in scopes.items()},
        streams={view: target("read", scope, f"{view}/{STREAM}", endless=True) for view, scope in scopes.items()},
        # Operations have one form in all versions, so their address is of none that goes.
        operation=Target(name, "write", f"{name}:write", OPERATION, Version(1), 1),
        following=Target(name, "write", f"{name}:write", f"{OPERATION}/{STREAM}", Version(1), 1, endless=True),
        events=target("write", STREAMS_READ, f"{{id}}/{EVENTS}"),
    )


def notes(version: Version, newest: int, raw_path: bytes, *, admin: bool = False) -> list[tuple[bytes, bytes]]:
    """What the answers of a version say that is to go."""
    since, until = version.deprecated, version.sunset
    if since is None:
        return []
    successor = quote(raw_path.replace(b"/v%d/" % version.number, b"/v%d/" % newest, 1), safe=IN_PATHS)
    links = [f'<{successor}>; rel="successor-version"']
    if not admin:
        links.insert(0, f'<{DOCUMENTATION}>; rel="deprecation"; type="text/html"')
    found = [(b"deprecation", b"@%d" % since.timestamp()), (b"link", ", ".join(links).encode())]
    return [*found, (b"sunset", http_date(until).encode())] if until else found


def operated(segments: list[str]) -> str:
    """The domain whose operation this is: its name stands before the last hyphen."""
    return segments[1].rpartition("-")[0] if len(segments) > 1 else ""


@cache
def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def plain(segment: bytes) -> str:
    """A path segment, decoded; refused when a service could read it as something else than a name."""
    if not segment:
        raise nothing()
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise unreadable() from None
    if text in FORBIDDEN or SEPARATOR_OR_CONTROL.search(text) or MALFORMED.search(segment):
        raise unreadable()
    return text


def readable(segment: bytes) -> str:
    """A path segment, decoded as far as it can be."""
    return unquote_to_bytes(segment).decode(errors="replace")


def nothing() -> Problem:
    return Problem(404, "not-found", "there is nothing at this address")


def not_so(known: Collection[str]) -> Problem:
    allow = ", ".join(sorted({*known, "HEAD"} if "GET" in known else known))
    return Problem(405, "method-not-allowed", f"this address knows {allow} only", headers={"allow": allow})


def unreadable() -> Problem:
    return Problem(400, "invalid-path", "the address has a segment that no address here has")
