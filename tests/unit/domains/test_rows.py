"""A row's copy is the one that pydantic makes, only sooner."""

import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from domains.errors import NotADomain
from domains.kernel import Row


class Sales(Row):
    country: str
    orders: int = 0
    sold: dict[str, int] = Field(default_factory=dict)


class Noted(Row):
    country: str
    _seen: int = PrivateAttr(default=3)


@pytest.mark.parametrize("update", [None, {}, {"orders": 2}, {"orders": 3, "country": "EIRE"}, {"sold": {"GBP": 1}}])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("row", [Sales(country="France"), Sales(country="France", sold={"GBP": 5})])
def test_a_copy_is_what_pydantic_makes(row, update, deep):
    copied, wanted = row.model_copy(update=update, deep=deep), BaseModel.model_copy(row, update=update, deep=deep)
    assert (type(copied), copied) == (Sales, wanted)
    assert (copied.model_fields_set, copied.model_extra) == (wanted.model_fields_set, wanted.model_extra)
    assert copied.model_dump_json() == wanted.model_dump_json()
    assert copied.model_dump(exclude_unset=True) == wanted.model_dump(exclude_unset=True)


def test_the_row_it_was_made_from_stays_as_it_was_and_neither_can_be_changed():
    row = Sales(country="France")
    copied = row.model_copy(update={"orders": 2})
    assert (row.orders, row.model_fields_set) == (0, {"country"})
    for one in (row, copied):
        with pytest.raises(ValidationError):
            one.orders = 5


def test_what_is_private_is_copied_as_well():
    row = Noted(country="France")
    row._seen = 4
    assert row.model_copy(update={"country": "EIRE"})._seen == 4


def test_a_row_that_could_be_changed_is_none():
    with pytest.raises(NotADomain, match="row Thawed: it is not frozen"):

        class Thawed(Row):
            model_config = ConfigDict(frozen=False)
