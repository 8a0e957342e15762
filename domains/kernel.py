"""What a domain is made of. Pure: no clock, no database, no broker."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict

from domains.admin import VERBS
from domains.errors import NotADomain
from domains.personal import personal_fields, subjects

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E")
R = TypeVar("R", bound="Row")

# What a field may be in the body of a command, where its type says it less closely: for a field's `json_schema_extra`.
IN_BODIES = "x-in-bodies"
RESERVED = frozenset({"operations"})
put = object.__setattr__
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
SCOPE = re.compile(r"[a-z][a-z0-9-]*:[a-z][a-z0-9-]*")
EVENT_TYPE = re.compile(r"(?P<domain>[a-z][a-z0-9-]*)\.(?P<event>[A-Z][A-Za-z0-9]*)\.v(?P<version>[1-9][0-9]*)")


class Command(BaseModel):
    """An intention, imperative. Each of its personal fields is marked with the field that names the subject."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        marked = subjects(cls)
        if set(personal_fields(cls)) - marked.keys() or set(marked.values()) - set(cls.model_fields):
            raise NotADomain(f"command {cls.__name__}: no field names the subject of a personal field")


def example(*bodies: dict[str, Any]) -> ConfigDict:
    """For a command's `model_config`: bodies that people can try, and that documents and histories show."""
    return ConfigDict(json_schema_extra={"examples": list(bodies)})


def whole(value: object) -> object:
    """For a number that is not rounded: JSON has no whole numbers of their own, so 6.0 is 6."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Event(BaseModel):
    """A fact, past tense, with the time at which it happened."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    occurred_at: datetime


class Row(BaseModel):
    """A row of a view: its fields are the table's columns and the answer's body."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        if not cls.model_config.get("frozen"):
            raise NotADomain(f"row {cls.__name__}: it is not frozen")

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic does it, in little more than half of the time: most folds make each row so."""
        if deep or not update or self.__pydantic_private__ is not None:
            return super().model_copy(update=update, deep=deep)
        copied = object.__new__(self.__class__)
        put(copied, "__dict__", {**self.__dict__, **update})
        # Nobody adds to the set of a frozen row, so rows can share it, which saves memory as well.
        fields = self.__pydantic_fields_set__
        put(copied, "__pydantic_fields_set__", fields if fields.issuperset(update) else fields | update.keys())
        put(copied, "__pydantic_extra__", None)
        put(copied, "__pydantic_private__", None)
        return copied


@dataclass(frozen=True, slots=True)
class Decider(Generic[S, C, E]):
    """An aggregate. `evolve` never refuses; `decide` never mutates and raises `Refused` to say no.

    Snapshots of another `version` of the fold are not used; when none is given, a digest of the domain's code is it.
    """

    initial: S
    evolve: Callable[[S, E], S]
    decide: Callable[[S, C], Sequence[E]]
    version: str | None = None


@dataclass(frozen=True, slots=True)
class View(Generic[R, E]):
    """A read model: a fold over one row.

    `key` names the row's key column and `key_of` the row that an event touches (None: no row).
    A view whose rows gather several streams is `shared`; its fold must not depend on the order in which the
    streams arrive. `filters` are the columns that a list may be filtered and sorted by; each
    gets an index.
    `scope` is what a token needs to ask it; None: the domain's own. `owner` is the column, key or filter, that names
    whose a row is; who is bound to what is his own sees no other rows, and no view without it.
    """

    name: str
    row: type[R]
    key: str
    key_of: Callable[[E], str | None]
    project: Callable[[R | None, E], R | None]
    filters: tuple[str, ...] = ()
    shared: bool = False
    version: int = 1
    scope: str | None = None
    owner: str | None = None

    def __post_init__(self) -> None:
        if self.owner not in (None, self.key, *self.filters):
            raise NotADomain(f"view {self.name!r}: its owner {self.owner!r} is neither its key nor a filter")
        unknown = {self.key, *self.filters} - set(self.row.model_fields)
        if unknown:
            raise NotADomain(f"view {self.name!r}: {', '.join(sorted(unknown))} is no field of its row")
        if hidden := {self.key, *self.filters} & {*personal_fields(self.row)}:
            raise NotADomain(f"view {self.name!r}: nobody can look for {', '.join(sorted(hidden))}, which is sealed")
        if not NAME.fullmatch(self.name):
            raise NotADomain(f"view {self.name!r}: a name has lower-case words joined by hyphens")

    @property
    def sortable(self) -> tuple[str, ...]:
        """The columns that a list may be sorted by: those that have an index."""
        return tuple(dict.fromkeys((self.key, *self.filters)))


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a composed answer: a row of a view, or, if `column` is given, the rows that have the key there."""

    name: str
    domain: str
    view: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Composition:
    """A question that views of several domains answer together: `/v1/<things>/<key>/<name>`.

    A domain that is not deployed, or too slow, leaves its part out; the rest is answered all the same.
    """

    things: str
    name: str
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if not names or len(set(names)) != len(names):
            raise NotADomain(f"composition {self.things}/{self.name}: it has no parts, or two of the same name")
        for name in (self.things, self.name, *names):
            if not NAME.fullmatch(name):
                raise NotADomain(f"composition {name!r}: a name has lower-case words joined by hyphens")


@dataclass(frozen=True, slots=True)
class Upcaster:
    """Brings the data of the events of `type`, as JSON values, to what the next version of that type holds. Pure."""

    type: str
    change: Callable[[dict[str, Any]], dict[str, Any]]

    @property
    def to(self) -> str:
        name, _, version = self.type.rpartition(".v")
        return f"{name}.v{int(version) + 1}"


@dataclass(frozen=True, slots=True)
class Form:
    """Another form of a command's body or of a view's row, and the pure function to or from the domain's own."""

    model: type[BaseModel]
    change: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a domain's addresses, `/v<number>/<domain>/…`.

    `commands` has the bodies that have another form than the domain's own, each with what makes the command of it;
    `views` the rows, each with what makes it of the domain's row. `deprecated` is since when callers are asked to
    take a newer version, `sunset` until when this one is served at least.
    """

    number: int
    commands: Mapping[str, Form] = field(default_factory=dict)
    views: Mapping[str, Form] = field(default_factory=dict)
    deprecated: datetime | None = None
    sunset: datetime | None = None

    def body(self, domain: "Domain", command: str) -> type[BaseModel]:
        """What a command's body is in this version; its aggregate is named by the path."""
        form = self.commands.get(command)
        return form.model if form else domain.commands[command]

    def command(self, domain: "Domain", name: str, fields: Mapping[str, Any]) -> Command:
        """The domain's command that a body stands for. Raises pydantic's `ValidationError`."""
        if (form := self.commands.get(name)) is None:
            return domain.commands[name].model_validate(fields)
        command: Command = form.change(form.model.model_validate(fields))
        return command

    def row(self, view: View[Any, Any]) -> type[BaseModel]:
        """What a view's row is in this version."""
        form = self.views.get(view.name)
        return form.model if form else view.row

    def shown(self, view: View[Any, Any], row: Row) -> BaseModel:
        """A row of a view as this version shows it."""
        form = self.views.get(view.name)
        shown: BaseModel = form.change(row) if form else row
        return shown


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain, declared once: routes, topics, rights, tables and documents derive from it.

    `identity` is the field of each command and event that names the aggregate; HTTP fills it from the path.
    `needs_version` are commands whose callers must say which version they have seen.
    `events` maps each type name to its model; a type name, once recorded, is a promise: a type has a model, or an
    upcaster that brings what was recorded to the next version.
    `scopes` are what tokens need for commands that take another scope than the domain's own. `admin` are the commands,
    and the verbs of `domains.admin`, that operators alone ask for, at a port of their own: each with a scope that is
    for nothing else. `owner` is the field of
    the aggregate's state, of commands and of access tokens that names whose an aggregate is. `versions` are those of
    its addresses that are served.
    """

    name: str
    identity: str
    commands: Mapping[str, type[Command]]
    events: Mapping[str, type[Event]]
    decider: Decider[Any, Any, Any]
    views: tuple[View[Any, Any], ...]
    partitions: int = 4
    upcasters: tuple[Upcaster, ...] = ()
    needs_version: frozenset[str] = frozenset()
    compositions: tuple[Composition, ...] = ()
    scopes: Mapping[str, str] = field(default_factory=dict)
    admin: Mapping[str, str] = field(default_factory=dict)
    owner: str | None = None
    versions: tuple[Version, ...] = (Version(1),)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise NotADomain(f"domain {self.name!r}: a name has lower-case words joined by hyphens")
        self._check_names()
        for model in (*self.commands.values(), *self.events.values()):
            if self.identity not in model.model_fields:
                raise NotADomain(f"domain {self.name!r}: {model.__name__} has no field {self.identity!r}")
        sources = [upcaster.type for upcaster in self.upcasters]
        for type_name in (*self.events, *sources):
            match = EVENT_TYPE.fullmatch(type_name)
            if match is None or match["domain"] != self.name:
                raise NotADomain(f"domain {self.name!r}: {type_name!r} is not {self.name}.<Event>.v<N>")
        for upcaster in self.upcasters:
            if upcaster.type in self.events or sources.count(upcaster.type) > 1:
                raise NotADomain(f"domain {self.name!r}: {upcaster.type!r} has an upcaster and something else")
            if upcaster.to not in self.events and upcaster.to not in sources:
                raise NotADomain(f"domain {self.name!r}: the upcaster of {upcaster.type!r} leads to nothing")
        names = [view.name for view in self.views]
        if len(set(names)) != len(names):
            raise NotADomain(f"domain {self.name!r}: two views have the same name")
        check_access(self)
        check_versions(self)

    def version(self, number: int) -> Version | None:
        """The version of that number, or None."""
        return next((version for version in self.versions if version.number == number), None)

    def command_scope(self, command: str) -> str:
        """What a token needs for a command."""
        return self.admin.get(command) or self.scopes.get(command, f"{self.name}:write")

    def view_scope(self, name: str) -> str:
        """What a token needs for a view."""
        view = self.view(name)
        return (view and view.scope) or f"{self.name}:read"

    @property
    def all_scope(self) -> str:
        """What frees a token from being bound to what is its owner's own."""
        return f"{self.name}:all"

    @property
    def every_scope(self) -> tuple[str, ...]:
        """Every scope of this domain, sorted."""
        own = (f"{self.name}:read", f"{self.name}:write", *([self.all_scope] if self.owner else ()))
        views = {view.scope for view in self.views if view.scope}
        return tuple(sorted({*own, *self.scopes.values(), *self.admin.values(), *views}))

    def _check_names(self) -> None:
        if self.name in RESERVED:
            raise NotADomain(f"domain {self.name!r}: this name is an address of the gateway's own")
        if unknown := self.needs_version - self.commands.keys():
            raise NotADomain(f"domain {self.name!r}: {', '.join(sorted(unknown))} is no command")
        for part in (part for one in self.compositions for part in one.parts if part.domain == self.name):
            view = self.view(part.view)
            if view is None or part.column not in (None, *view.filters):
                raise NotADomain(f"domain {self.name!r}: {part.name!r} is composed of what no view has")

    def type_of(self, event: Event) -> str:
        """The promised type name of an event, for example `orders.OrderPlaced.v1`. Raises `NotADomain`."""
        for name, model in self.events.items():
            if model is type(event):
                return name
        raise NotADomain(f"domain {self.name!r} has decided upon {type(event).__name__}, which it does not declare")

    @property
    def is_personal(self) -> bool:
        """Whether it records texts about persons, which need keys."""
        return any(map(personal_fields, (*self.commands.values(), *self.events.values())))

    def upcaster(self, type_name: str) -> Upcaster | None:
        """What brings events of that type to the next version, or None."""
        return next((upcaster for upcaster in self.upcasters if upcaster.type == type_name), None)

    def view(self, name: str) -> View[Any, Any] | None:
        """The view of that name, or None."""
        return next((view for view in self.views if view.name == name), None)

    def stream(self, id: str) -> str:
        """The name of an aggregate's stream, for example `orders-536365`."""
        return f"{self.name}-{id}"

    @property
    def events_topic(self) -> str:
        return f"{self.name}.events.v1"

    @property
    def commands_topic(self) -> str:
        return f"{self.name}.commands.v1"

    @property
    def strange_commands_topic(self) -> str:
        return f"{self.name}.commands.v1.dlq"

    @property
    def dead_letter_topic(self) -> str:
        return f"{self.name}.events.v1.dlq"

    @property
    def skips_topic(self) -> str:
        """What people took out of views, and why."""
        return f"{self.name}.skips.v1"

    def view_topic(self, view: View[Any, Any]) -> str:
        return f"{self.name}.views.{view.name}.v{view.version}"


def check_access(domain: Domain) -> None:
    """Raises `NotADomain` for rights that are declared on nothing."""
    if unknown := domain.scopes.keys() - domain.commands.keys():
        raise NotADomain(f"domain {domain.name!r}: {', '.join(sorted(unknown))} is no command")
    if unknown := domain.admin.keys() - domain.commands.keys() - VERBS.keys():
        raise NotADomain(f"domain {domain.name!r}: {', '.join(sorted(unknown))} is no verb and no command")
    if ambiguous := domain.admin.keys() & domain.commands.keys() & VERBS.keys():
        raise NotADomain(f"domain {domain.name!r}: {min(ambiguous)!r} is a command and a verb")
    scopes = {*domain.scopes.values(), *(view.scope for view in domain.views if view.scope)}
    if strange := sorted(scope for scope in {*scopes, *domain.admin.values()} if not SCOPE.fullmatch(scope)):
        raise NotADomain(f"domain {domain.name!r}: {strange[0]!r} is no scope, like {domain.name}:refund")
    common = {*scopes, domain.all_scope, f"{domain.name}:read", f"{domain.name}:write"}
    if shared := sorted(common & {*domain.admin.values()}):
        raise NotADomain(f"domain {domain.name!r}: {shared[0]!r} is not for operators alone")
    if domain.owner is None and any(view.owner for view in domain.views):
        raise NotADomain(f"domain {domain.name!r}: a view has an owner, and the domain has none")
    if domain.owner is not None and not hasattr(domain.decider.initial, domain.owner):
        raise NotADomain(f"domain {domain.name!r}: its aggregates have no field {domain.owner!r}")


def check_versions(domain: Domain) -> None:
    """Raises `NotADomain` for versions that can't be told apart, or that give forms to nothing."""
    numbers = [version.number for version in domain.versions]
    if not numbers or numbers != sorted(set(numbers)) or numbers[0] < 1:
        raise NotADomain(f"domain {domain.name!r}: its versions are not numbered 1, 2, 3 …")
    for version in domain.versions:
        known = {*domain.commands, *(view.name for view in domain.views)}
        if unknown := {*version.commands, *version.views} - known:
            raise NotADomain(f"domain {domain.name!r}: v{version.number} has a form for {min(unknown)!r}")
        if any(domain.identity not in form.model.model_fields for form in version.commands.values()):
            raise NotADomain(f"domain {domain.name!r}: a command of v{version.number} has no {domain.identity!r}")
        if version.sunset and not (version.deprecated and version.deprecated < version.sunset):
            raise NotADomain(f"domain {domain.name!r}: v{version.number} ends before it is deprecated")
