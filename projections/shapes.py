"""What a column's values look like inside, so that a change is found that the column's type does not show."""

from collections.abc import Mapping
from enum import Enum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

CHOICE = "one of"
Shape = str | list[Any] | dict[str, Any]


def shape(annotation: Any, within: frozenset[Any] = frozenset()) -> Shape:
    """The shape of an annotation, as JSON has it: told by names alone, so that no release of a library changes it."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return [CHOICE, *parts]
    if parts:
        name = "union" if origin in (Union, UnionType) else getattr(origin, "__name__", str(origin))
        return [name, *(shape(part, within) for part in parts)]
    if isinstance(annotation, type) and annotation not in within:
        if issubclass(annotation, Enum):
            return [CHOICE, *(one.value for one in annotation)]
        if issubclass(annotation, BaseModel):
            fields = annotation.model_fields.items()
            return {name: shape(field.annotation, within | {annotation}) for name, field in fields}
    return getattr(annotation, "__name__", str(annotation))


def holds(wanted: Shape, known: Shape) -> bool:
    """Whether values of a known shape are values of the wanted one, unchanged: it may have more choices."""
    if isinstance(wanted, Mapping) and isinstance(known, Mapping):
        return wanted.keys() == known.keys() and all(holds(wanted[name], known[name]) for name in known)
    if isinstance(wanted, list) and isinstance(known, list):
        if wanted[0] == known[0] == CHOICE:
            return all(value in wanted for value in known)
        return len(wanted) == len(known) and all(map(holds, wanted, known))
    return wanted == known
