"""Safe and breaking changes of event models, each named where it is."""

from decimal import Decimal
from typing import Annotated, Literal

import pytest
from pydantic import ConfigDict, Field, create_model

from domains.promises import Side, compare

REQUIRED = ...
Text = Annotated[str, Field(max_length=10)]


def model(**fields):
    parts = {name: kind if isinstance(kind, tuple) else (kind, REQUIRED) for name, kind in fields.items()}
    return create_model("Happened", **parts)


def strict(**fields):
    parts = {name: (kind, REQUIRED) for name, kind in fields.items()}
    return create_model("Happened", __config__=ConfigDict(extra="forbid"), **parts)


SAFE = {
    "nothing changed": (model(a=int), model(a=int)),
    "an optional field is new": (model(a=int), model(a=int, b=(int | None, None))),
    "a field with a default is new": (model(a=int), model(a=int, b=(str, "GBP"))),
    "a field is gone and the model is open": (model(a=int, b=int), model(a=int)),
    "a field may be left out": (model(a=int), model(a=(int, 0))),
    "a field may be null": (model(a=int), model(a=int | None)),
    "an integer may be a number": (model(a=int), model(a=float)),
    "a value is added to a list of values": (model(a=Literal["x"]), model(a=Literal["x", "y"])),
    "a list of values is any text": (model(a=Literal["x", "y"]), model(a=str)),
    "an upper bound is loosened": (model(a=Annotated[int, Field(le=5)]), model(a=Annotated[int, Field(le=9)])),
    "an upper bound is dropped": (model(a=Text), model(a=str)),
    "a lower bound is loosened": (model(a=Annotated[int, Field(ge=5)]), model(a=Annotated[int, Field(ge=1)])),
    "a pattern is dropped": (model(a=Annotated[str, Field(pattern="^x$")]), model(a=str)),
    "an alternative is added": (model(a=int | bool), model(a=int | bool | str)),
    "alternatives change places": (model(a=int | str), model(a=str | int)),
    "anything is taken": (model(a=int), model(a=object)),
    "a field within a part is new": (model(a=model(x=int)), model(a=model(x=int, y=(int, 0)))),
    "a field within the parts of a list may be null": (
        model(a=list[model(x=int)]),
        model(a=list[model(x=int | None)]),
    ),
    "a model is opened": (strict(a=int), model(a=int)),
    "a title and a description change": (
        model(a=Annotated[int, Field(title="A")]),
        model(a=Annotated[int, Field(title="B", description="b")]),
    ),
}

BREAKING = {
    "a field is new and must be there": (model(a=int), model(a=int, b=int)),
    "a field is gone and the model is closed": (strict(a=int, b=int), strict(a=int)),
    "a field is renamed": (strict(a=int), strict(b=int)),
    "a field must be there": (model(a=(int, 0)), model(a=int)),
    "null is no longer taken": (model(a=int | None), model(a=int)),
    "text became a number": (model(a=str), model(a=int)),
    "a number became an integer": (model(a=float), model(a=int)),
    "a value is taken from a list of values": (model(a=Literal["x", "y"]), model(a=Literal["x"])),
    "any text became a list of values": (model(a=str), model(a=Literal["x", "y"])),
    "an upper bound is tightened": (model(a=Annotated[int, Field(le=9)]), model(a=Annotated[int, Field(le=5)])),
    "an upper bound is new": (model(a=str), model(a=Text)),
    "a lower bound is tightened": (model(a=Annotated[int, Field(ge=1)]), model(a=Annotated[int, Field(ge=5)])),
    "a pattern is new": (model(a=str), model(a=Annotated[str, Field(pattern="^x$")])),
    "a pattern changes": (
        model(a=Annotated[str, Field(pattern="^x$")]),
        model(a=Annotated[str, Field(pattern="^x+$")]),
    ),
    "an alternative is gone": (model(a=int | bool | str), model(a=int | bool)),
    "a single value became a list": (model(a=int), model(a=list[int])),
    "a field within a part must be there": (model(a=model(x=int)), model(a=model(x=int, y=int))),
    "a part of a list changes its type": (model(a=list[model(x=int)]), model(a=list[model(x=str)])),
    "the values of a map change their type": (model(a=dict[str, int]), model(a=dict[str, str])),
    "a model is closed": (model(a=int), strict(a=int)),
    "a pair became a triple": (model(a=tuple[int, int]), model(a=tuple[int, int, int])),
    "what a left-out field meant changes": (model(a=(str, "GBP")), model(a=(str, "EUR"))),
    "a list must not be empty": (model(a=list[int]), model(a=Annotated[list[int], Field(min_length=1)])),
    "a number must be a multiple": (model(a=int), model(a=Annotated[int, Field(multiple_of=5)])),
    "an amount became a whole number": (model(a=Decimal), model(a=int)),
}


def found(before, after):
    old, new = before.model_json_schema(), after.model_json_schema()
    return list(compare(Side(old, old), Side(new, new), "shop.Happened.v1"))


@pytest.mark.parametrize("case", SAFE)
def test_safe(case):
    assert [change for change in found(*SAFE[case]) if change.breaking] == []


@pytest.mark.parametrize("case", BREAKING)
def test_breaking(case):
    assert any(change.breaking for change in found(*BREAKING[case]))


def test_a_change_is_named_where_it_is():
    (change,) = found(*SAFE["a field within a part is new"])
    assert (change.path, change.what) == ("shop.Happened.v1.a.y", "is new")
