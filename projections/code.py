"""The code of a view: all that its functions name, and a fingerprint of it."""

import dis
import hashlib
import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from functools import cache, partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, get_args
from uuid import UUID

from pydantic import BaseModel, TypeAdapter

from domains.kernel import Domain
from projections.rows import AnyView
from projections.shapes import shape

Part = tuple[str, object]
GATHERED = (list, tuple, set, frozenset, deque)
SCALARS = (str, bytes, bytearray, int, float, complex, Decimal, range, slice)
VALUES = (*SCALARS, date, time, timedelta, tzinfo, UUID, re.Pattern, Enum, type(None))
# Of these there is no one thing that others could share: where two are the same depends on who compiled them.
COPIED = (*VALUES, tuple, frozenset)
PROJECT = {"domains", "eventstore", "gateway", "infra", "projections"}
# What libraries keep in these differs from process to process.
STATE = {"logging", "threading", "asyncio", "weakref", "pydantic_core"}


def fingerprint(domain: Domain, view: AnyView) -> str:
    """What stays while nothing of a view's code has changed, nor of what it is given; comments count for nothing.

    That it changed does not say that rows do. Another release of Python compiles otherwise, which is a change, too.
    """
    begin = begins(domain, view)
    digest = hashlib.sha256(repr((view.key, sorted(domain.events))).encode())
    for way, one, before in references(begin, ours(*begin)):
        digest.update(f"{way}\0{before or said(one)}\0".encode())
    return digest.hexdigest()[:16]


def begins(domain: Domain, view: AnyView) -> tuple[object, ...]:
    """What makes the rows of a view out of what was recorded."""
    upcasters = [upcaster.change for upcaster in domain.upcasters]
    events = [model for _, model in sorted(domain.events.items())]
    return (view.key_of, view.project, view.row, *events, *upcasters)


def reached(*begin: object) -> Iterator[Part]:
    """What the code of these can name, each thing once and with the way to it, as far as it is of their own packages
    and of this project's.

    What others have made is told and not looked into. What a name leads to only while code runs is not seen.
    """
    found = dict[int, object]()
    for way, one, _ in references(begin, ours(*begin)):
        if id(one) not in found:
            found[id(one)] = one
            yield way, one


def ours(*begin: object) -> set[str]:
    return {package(one) for one in begin} - {"builtins", "functools"} | PROJECT


def references(begin: tuple[object, ...], ours: set[str]) -> Iterator[tuple[str, object, str | None]]:
    """All that leads from one thing to another; the last word: where that other was met before."""
    left = [(getattr(one, "__name__", type(one).__name__), one) for one in reversed(begin)]
    seen = dict[int, tuple[str, object]]()
    while left:
        way, one = left.pop()
        if id(one) in seen:
            yield way, one, seen[id(one)][0]
            continue
        if not isinstance(one, COPIED):
            seen[id(one)] = way, one  # kept, so that nothing else gets its id
        yield way, one, None
        left += [(f"{way}.{name}", part) for name, part in reversed([*parts(one, ours)])]


def parts(one: object, ours: set[str]) -> Iterator[Part]:  # noqa: C901, PLR0912  # a list of kinds
    match one:
        case partial():
            yield from (("func", one.func), ("args", one.args), ("keywords", one.keywords))
        case MethodType():
            yield from ((one.__name__, one.__func__), ("self", one.__self__))
        case BuiltinFunctionType():
            yield "self", one.__self__
        case staticmethod() | classmethod():
            yield one.__func__.__name__, one.__func__
        case property():
            yield from (("get", one.fget), ("set", one.fset))
        case FunctionType():
            if package(one) in ours:
                yield from named(one)
                yield from own(one)
        case type():
            if package(one) in ours:
                yield from ((base.__name__, base) for base in one.__bases__)
                yield from ((name, part) for name, part in vars(one).items() if told(name, part))
                for name, field in getattr(one, "__pydantic_fields__", {}).items():
                    made = (field.default, field.default_factory, *field.metadata)
                    yield from ((name, part) for part in (*kinds(field.annotation), *made))
        case ModuleType():
            return
        case TypeAdapter():  # what it has made of this differs from process to process
            yield from (("of", part) for part in kinds(vars(one).get("_type")))
        case _ if not isinstance(one, VALUES):
            if isinstance(one, Mapping):
                yield from ((key if isinstance(key, str) else said(key), part) for key, part in one.items())
            elif isinstance(one, GATHERED):
                unordered = isinstance(one, set | frozenset)
                yield from (("item", part) for part in (sorted(one, key=ordered) if unordered else one))
            if (wrapped := getattr(one, "__wrapped__", None)) is not None:
                yield "wrapped", wrapped
            if package(type(one)) in ours:
                yield type(one).__name__, type(one)
                yield from getattr(one, "__dict__", {}).items()
                yield from slots(one)
            elif package(type(one)) not in STATE:
                yield from own(one)
                yield from ((name, part) for name, part in slots(one) if not name.startswith("_"))


def own(one: object) -> Iterator[Part]:
    """What hangs on a thing, without what libraries keep there for themselves."""
    for name, part in getattr(one, "__dict__", {}).items():
        if name == "__wrapped__" or not name.startswith("_"):
            yield name, part


def slots(one: object) -> Iterator[Part]:
    for kind in type(one).__mro__:
        for name in getattr(kind, "__slots__", ()):
            yield name, getattr(one, name, None)


def ordered(one: object) -> tuple[str, str]:
    """Sorts in the same way in every process, as far as what can be said of things differs."""
    return said(one), placeless(repr(one))


def placeless(text: str) -> str:
    """Without where in memory things lie."""
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def told(name: str, part: object) -> bool:
    """Whether a class has this of its own: what pydantic and Python have put there is not it."""
    return isinstance(part, FunctionType | property | staticmethod | classmethod) or not name.startswith(
        ("_", "model_")
    )


def kinds(annotation: object) -> Iterator[object]:
    """The classes in an annotation, and what is said of them there."""
    yield from getattr(annotation, "__metadata__", ())
    if parts := get_args(annotation):
        for part in parts:
            yield from kinds(part)
    elif isinstance(annotation, type):
        yield annotation


def named(function: FunctionType) -> Iterator[Part]:
    """What a function holds, and what its names lead to now."""
    yield from (("default", part) for part in function.__defaults__ or ())
    yield from (function.__kwdefaults__ or {}).items()
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if cell != type(cell)():  # not filled yet
            yield name, cell.cell_contents
    for names in loads(function.__code__):
        place: Any = function.__globals__.get(names[0], sys.modules.get(names[0]))
        for name in names[1:]:
            if not isinstance(place, ModuleType):
                break
            place = vars(place).get(name)
        yield ".".join(names), place


@cache
def loads(code: CodeType) -> tuple[tuple[str, ...], ...]:
    """The names that code asks its module for, or that it imports, with the attributes that it asks them for."""
    found = dict[tuple[str, ...], None]()
    chain: tuple[str, ...] = ()
    imports = [one.argval for one in dis.get_instructions(code) if one.opname == "IMPORT_NAME"]
    for one in dis.get_instructions(code):
        if one.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            chain = (one.argval,)
        elif chain and one.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            chain = (*chain, one.argval)
        else:
            chain = ()
        if chain:
            found[chain] = None
    found |= dict.fromkeys((module, name) for module in imports for name in code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= dict.fromkeys(loads(constant))
    return tuple(found)


def said(one: object) -> str:
    """One thing by itself, without what it leads to."""
    match one:
        case FunctionType():
            return f"function {compiled(one.__code__)}"
        case type() if issubclass(one, BaseModel):
            told = {name: (shape(field.annotation), value(field.alias)) for name, field in one.model_fields.items()}
            config = {name: value(part) for name, part in one.model_config.items() if name != "json_schema_extra"}
            return f"model {one.__qualname__} {placeless(str(told))} {config}"
        case type() | ModuleType():
            return f"{getattr(one, '__module__', '')} {one.__name__}"
        case _:
            return value(one)


def compiled(code: CodeType) -> str:
    consts = [compiled(one) if isinstance(one, CodeType) else value(one) for one in code.co_consts]
    given = code.co_argcount + code.co_kwonlyargcount
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames[:given], *counts)
    return f"{code.co_code.hex()} {code.co_exceptiontable.hex()} {names} {consts}"


def value(one: object) -> str:
    kind = type(one).__qualname__
    if isinstance(one, Enum):
        return f"{kind} {one.name} {value(one.value)}"
    if isinstance(one, re.Pattern):
        return f"{kind} {one.pattern!r} {one.flags}"  # its repr ends after 200 characters
    if isinstance(one, VALUES):
        return f"{kind} {one!r}"
    if isinstance(one, frozenset | set):
        return f"{kind} {sorted(map(value, one))}"
    if isinstance(one, tuple | list):
        return f"{kind} {[*map(value, one)]}"
    name = getattr(one, "__qualname__", None)
    return f"{kind} {getattr(one, '__module__', '')} {name}" if isinstance(name, str) else kind


def package(one: object) -> str:
    return str(getattr(one, "__module__", None) or type(one).__module__).partition(".")[0]
