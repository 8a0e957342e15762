"""The code of a view: all that its functions name, and a fingerprint of it."""

import dis
import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from functools import cache, partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, get_args
from uuid import UUID

from pydantic import BaseModel

from domains.kernel import Domain
from projections.rows import AnyView
from projections.shapes import shape

Part = tuple[str, object]
GATHERED = (list, tuple, set, frozenset)
VALUES = (str, bytes, int, float, complex, Decimal, date, time, timedelta, tzinfo, UUID, re.Pattern, Enum, type(None))


def fingerprint(domain: Domain, view: AnyView) -> str:
    """What stays while nothing of a view's code has changed, nor of what it is given; comments count for nothing.

    That it changed does not say that rows do. Another release of Python compiles otherwise, which is a change, too.
    """
    upcasters = [upcaster.change for upcaster in domain.upcasters]
    events = [model for _, model in sorted(domain.events.items())]
    digest = hashlib.sha256(repr((view.key, sorted(domain.events))).encode())
    for _, one in reached(view.key_of, view.project, view.row, *events, *upcasters):
        digest.update(said(one).encode())
    return digest.hexdigest()[:16]


def reached(*begin: object) -> Iterator[Part]:
    """What the code of these can name, each thing once and with the way to it, as far as it is of their own packages.

    What others have made is told and not looked into. What a name leads to only while code runs is not seen.
    """
    ours = {package(one) for one in begin} - {"builtins", "functools"}
    left = [(getattr(one, "__name__", type(one).__name__), one) for one in reversed(begin)]
    seen = dict[int, object]()
    while left:
        way, one = left.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one  # kept, so that nothing else gets its id
        yield way, one
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
        case type():
            if package(one) in ours:
                yield from ((base.__name__, base) for base in one.__bases__)
                yield from ((name, part) for name, part in vars(one).items() if told(name, part))
                for name, field in getattr(one, "__pydantic_fields__", {}).items():
                    yield from ((name, part) for part in (*kinds(field.annotation), field.default_factory))
        case ModuleType():
            return
        case Mapping():
            yield from ((str(key), part) for key, part in one.items())
        case _ if isinstance(one, GATHERED):
            yield from (("item", part) for part in (one if isinstance(one, list | tuple) else sorted(one, key=repr)))
        case _ if not isinstance(one, VALUES) and package(type(one)) in ours:
            yield type(one).__name__, type(one)
            yield from getattr(one, "__dict__", {}).items()
            slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
            yield from ((name, getattr(one, name, None)) for name in slots)
        case _ if (wrapped := getattr(one, "__wrapped__", None)) is not None:
            yield "wrapped", wrapped


def told(name: str, part: object) -> bool:
    """Whether a class has this of its own: what pydantic and Python have put there is not it."""
    return isinstance(part, FunctionType | property | staticmethod | classmethod) or not name.startswith(
        ("_", "model_")
    )


def kinds(annotation: object) -> Iterator[object]:
    """The classes in an annotation."""
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
            told = {name: (shape(field.annotation), value(field.default)) for name, field in one.model_fields.items()}
            return f"model {one.__qualname__} {told}"
        case type() | ModuleType():
            return f"{getattr(one, '__module__', '')} {one.__name__}"
        case _:
            return value(one)


def compiled(code: CodeType) -> str:
    consts = [compiled(one) if isinstance(one, CodeType) else value(one) for one in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {consts}"


def value(one: object) -> str:
    if isinstance(one, frozenset | set):
        return f"{type(one).__name__} {sorted(map(value, one))}"
    if isinstance(one, tuple | list):
        return f"{type(one).__name__} {[*map(value, one)]}"
    return f"{type(one).__name__} {one!r}" if isinstance(one, VALUES) else type(one).__qualname__


def package(one: object) -> str:
    return str(getattr(one, "__module__", None) or type(one).__module__).partition(".")[0]
