"""The code of a view: all that its functions name, and a fingerprint of it."""

import dis
import hashlib
import re
from array import array
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from datetime import date, time, timedelta, tzinfo
from decimal import Context, Decimal
from enum import Enum
from fractions import Fraction
from functools import cache, partial
from importlib import import_module
from operator import attrgetter, itemgetter, methodcaller
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, get_args
from uuid import UUID

from pydantic import BaseModel, TypeAdapter

from domains.kernel import Domain
from projections.rows import AnyView
from projections.shapes import shape

Part = tuple[str, object]
GATHERED = (list, tuple, set, frozenset, deque)
SIMPLE = {str, bytes, bool, int, float, Decimal, type(None)}
SCALARS = (str, bytes, bytearray, int, float, complex, Decimal, Fraction, range, slice, array)
TIMES = (date, time, timedelta, tzinfo)
ASKING = (attrgetter, itemgetter, methodcaller)
VALUES = (*SCALARS, *TIMES, *ASKING, UUID, PurePath, Context, re.Pattern, Enum, type(None))
# Of these there is no one thing that others could share: where two are the same depends on who compiled them.
COPIED = (*VALUES, tuple, frozenset)
PROJECT = {"domains", "eventstore", "gateway", "infra", "projections"}
FLAGS = r"flags=\[.*?\]"  # what a context of decimals has met so far
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
    left = [(plain(one, "__name__", type(one).__name__), one) for one in reversed(begin)]
    seen = dict[int, tuple[str, object]]()
    while left:
        way, one = left.pop()
        if id(one) in seen:
            yield way, one, seen[id(one)][0]
            continue
        yield way, one, None
        if type(one) in SIMPLE or (type(one) is tuple and SIMPLE.issuperset(map(type, one))):
            continue  # all of it is said
        if not isinstance(one, COPIED) or package(type(one)) in ours:
            seen[id(one)] = way, one  # kept, so that nothing else gets its id
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
                for name, field in vars(one).get("__pydantic_fields__", {}).items():
                    made = (field.default, field.default_factory, *field.metadata)
                    yield from ((name, part) for part in (*kinds(field.annotation), *made))
        case ModuleType():
            return
        case TypeAdapter():  # what it has made of this differs from process to process
            yield from (("of", part) for part in kinds(vars(one).get("_type")))
        case _:
            if isinstance(one, defaultdict):
                yield "default_factory", one.default_factory
            if isinstance(one, Mapping):
                yield from ((key if isinstance(key, str) else said(key), part) for key, part in one.items())
            elif isinstance(one, GATHERED):
                unordered = isinstance(one, set | frozenset)
                several = sorted(one, key=partial(ordered, ours)) if unordered else one
                yield from (("item", part) for part in several)
            if package(type(one)) in ours:
                yield type(one).__name__, type(one)
                yield from plain(one, "__dict__", {}).items()
                yield from slots(one)
            elif isinstance(one, VALUES):
                return
            elif package(type(one)) in STATE:
                if (wrapped := plain(one, "__wrapped__")) is not None:
                    yield "wrapped", wrapped
            else:
                yield from own(one)
                yield from ((name, part) for name, part in slots(one) if not name.startswith("_"))


def own(one: object) -> Iterator[Part]:
    """What hangs on a thing, without what libraries keep there for themselves."""
    for name, part in plain(one, "__dict__", {}).items():
        if name == "__wrapped__" or not name.startswith("_"):
            yield name, part


def slots(one: object) -> Iterator[Part]:
    for kind in type(one).__mro__:
        names = vars(kind).get("__slots__", ())
        for name in [names] if isinstance(names, str) else names:
            if name.startswith("__") and not name.endswith("__"):
                yield name, plain(one, f"_{kind.__name__.lstrip('_')}{name}")
            elif name not in ("__dict__", "__weakref__"):
                yield name, plain(one, name)


def plain(one: object, name: str, default: Any = None) -> Any:
    """What a thing has by itself: some make up whatever else they are asked for, without an end, or fail."""
    try:
        return object.__getattribute__(one.__func__ if isinstance(one, MethodType) else one, name)
    except AttributeError:
        return default


def ordered(ours: set[str], one: object) -> tuple[str, list[str]]:
    """Sorts in the same way in every process, as far as what can be said of things and their parts differs."""
    return said(one), [f"{name} {said(part)}" for name, part in parts(one, ours)]


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
        place: Any = function.__globals__.get(names[0])
        for name in names[1:]:
            if not isinstance(place, ModuleType):
                break
            place = vars(place).get(name)
        yield ".".join(names), place
    for module, taken, asked in imports(function.__code__):
        place = imported(module, taken, function.__globals__)
        if place is None:
            continue
        found = [(f"{place.__name__}.{name}", vars(place).get(name)) for name in (*taken, *asked)]
        yield from found
        beside = [one for _, one in found[: len(taken)] if isinstance(one, ModuleType)]
        yield from ((f"{one.__name__}.{name}", vars(one).get(name)) for one in beside for name in asked)


@cache
def loads(code: CodeType) -> tuple[tuple[str, ...], ...]:
    """The names that code asks its module for, with the attributes that it asks them for."""
    found = dict[tuple[str, ...], None]()
    chain: tuple[str, ...] = ()
    for one in dis.get_instructions(code):
        if one.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            chain = (one.argval,)
        elif chain and one.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            chain = (*chain, one.argval)
        else:
            chain = ()
        if chain:
            found[chain] = None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= dict.fromkeys(loads(constant))
    return tuple(found)


@cache
def imports(code: CodeType) -> tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]:
    """The modules that code imports when it runs, what it takes from them, and what else it names."""
    found, constants = list[tuple[str, tuple[str, ...], tuple[str, ...]]](), list[Any]()
    for one in dis.get_instructions(code):
        if one.opname == "IMPORT_NAME":
            level, taken = constants[-2:]
            asked = tuple(name for name in code.co_names if name not in (taken or ()))
            found.append(("." * level + one.argval, taken or (), asked))
        elif one.opname.startswith(("LOAD_CONST", "LOAD_SMALL_INT")):
            constants.append(one.argval)
    return (*found, *(each for one in code.co_consts if isinstance(one, CodeType) for each in imports(one)))


def imported(name: str, taken: tuple[str, ...], of: Mapping[str, Any]) -> ModuleType | None:
    """The module that is meant there, loaded as that code would: what it is must not depend on whether it has run."""
    beside = of.get("__package__") or of.get("__name__", "").rpartition(".")[0]
    if name.startswith(".") and not beside:
        return None
    module = None
    # Whatever it raises: it may want settings that only the process has in which that code runs.
    with suppress(Exception):
        module = import_module(name, beside)
    for part in taken:
        if module is not None and part not in vars(module):
            with suppress(Exception):
                import_module(f"{module.__name__}.{part}")
    return module


def said(one: object) -> str:
    """One thing by itself, without what it leads to."""
    match one:
        case FunctionType():
            return f"function {compiled(one.__code__)}"
        case type() if issubclass(one, BaseModel):
            told = {name: (shape(field.annotation), value(field.alias)) for name, field in one.model_fields.items()}
            config = {name: value(part) for name, part in one.model_config.items() if name != "json_schema_extra"}
            return f"model {one.__qualname__} {placeless(str(told))} {config} {[*decorated(one)]}"
        case type() | ModuleType():
            return f"{plain(one, '__module__', '')} {one.__name__}"
        case list() | set():  # its parts tell what is in it
            return type(one).__qualname__
        case _:
            return value(one)


def decorated(model: type[BaseModel]) -> Iterator[str]:
    """What its validators and serializers are for, and when they are called."""
    for kind in fields(model.__pydantic_decorators__):
        if isinstance(those := getattr(model.__pydantic_decorators__, kind.name), dict):
            yield from (f"{name} {placeless(repr(each.info))}" for name, each in those.items())


def compiled(code: CodeType) -> str:
    consts = [compiled(one) if isinstance(one, CodeType) else value(one) for one in code.co_consts]
    given = code.co_argcount + code.co_kwonlyargcount
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames[:given], *counts)
    return f"{code.co_code.hex()} {code.co_exceptiontable.hex()} {names} {consts}"


def value(one: object) -> str:
    kind = type(one).__qualname__
    match one:
        case Enum():
            told = f"{one.name} {value(one.value)}"
        case re.Pattern():
            told = f"{one.pattern!r} {one.flags}"  # its repr ends after 200 characters
        case Context():
            told = re.sub(FLAGS, "", repr(one))
        case tzinfo() | methodcaller():
            told = placeless(repr(one))
        case _ if isinstance(one, VALUES):
            told = repr(one)
        # Not as lists of texts: each level would quote the quotes of the one below.
        case frozenset():
            told = f"{{{', '.join(sorted(map(value, one)))}}}"
        case tuple():
            told = f"[{', '.join(map(value, one))}]"
        case _ if isinstance(name := plain(one, "__qualname__"), str):
            told = f"{plain(one, '__module__', '')} {name}"
        case _:
            return kind
    return f"{kind} {told}"


def package(one: object) -> str:
    return str(plain(one, "__module__") or type(one).__module__).partition(".")[0]
