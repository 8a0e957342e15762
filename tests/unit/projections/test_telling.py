"""What a stream tells: each row as it becomes, once, and what leaves; and where it goes on."""

import pytest

from domains.kernel import Decider, Domain, Row, View
from infra.web import Problem
from projections.plan import RESUMABLE_SECONDS
from projections.serving.tail import Change
from projections.serving.telling import REMEMBERED, Told, Wanted, cursor_of, encoded


class Parcel(Row):
    parcel: str
    state: str


VIEW = View("on-the-way", Parcel, "parcel", lambda event: event.parcel, lambda row, _: row, ("state",))
DOMAIN = Domain("parcels", "parcel", {}, {}, Decider(None, lambda s, _: s, lambda _, __: []), (VIEW,))
OPEN = {"state": "open"}


def change(key, state, offset=0):
    row = Parcel(parcel=key, state=state).model_dump_json().encode() if state else None
    return Change(0, offset, key, row)


def told(wanted, *changes):
    told = Told(VIEW, wanted)
    return [told.tell(change(*one)) for one in changes]


def test_what_is_the_same_is_not_told_twice():
    changes = [("a", "open"), ("a", "open"), ("a", "shut"), ("a", "open"), ("a", None), ("a", None), ("a", "open")]
    assert told(Wanted(), *changes) == ["row", None, "row", "row", "removed", None, "row"]


def test_a_key_hears_of_itself_only():
    assert told(Wanted(key="a"), ("b", "open"), ("a", "open"), ("b", None), ("a", None)) == [
        None,
        "row",
        None,
        "removed",
    ]


def test_a_row_that_leaves_the_filter_is_removed_and_strangers_are_not_told():
    changes = [("a", "open"), ("b", "shut"), ("a", "shut"), ("a", "shut"), ("b", None), ("b", "open")]
    assert told(Wanted(filters=OPEN), *changes) == ["row", None, "removed", None, None, "row"]


def test_a_row_that_was_there_at_the_beginning_is_removed_when_it_leaves():
    one = Told(VIEW, Wanted(filters=OPEN))
    one.is_there(Parcel(parcel="a", state="open"), None)
    assert one.tell(change("a", "shut")) == "removed"


def test_a_row_of_the_snapshot_is_not_told_again():
    one, row = Told(VIEW, Wanted(filters=OPEN, snapshot=True)), Parcel(parcel="a", state="open")
    one.is_there(row, row.model_dump_json().encode())
    assert [one.tell(change("a", "open")), one.tell(change("a", "shut"))] == [None, "removed"]


def test_after_a_break_what_may_have_left_is_told():
    assert told(Wanted(filters=OPEN, cursor=[0, 0, 0, 0]), ("a", "shut"), ("a", "shut")) == ["removed", None]


def test_what_is_forgotten_is_told_once_more_rather_than_not_at_all():
    one = Told(VIEW, Wanted(filters=OPEN))
    for number in range(REMEMBERED + 1):
        assert one.tell(change(str(number), "open")) == "row"
    assert one.tell(change("0", "shut")) == "removed"
    assert len(one._last) == REMEMBERED


def test_who_is_bound_to_his_own_hears_nothing_of_others():
    wanted = Wanted(filters={"state": "mine"}, cursor=[0, 0, 0, 0], bound=True)
    assert told(wanted, ("a", "yours"), ("b", None), ("c", "mine"), ("c", "yours")) == [None, None, "row", "removed"]


def test_a_cursor_comes_back():
    assert cursor_of(DOMAIN, VIEW, encoded(VIEW, [1, 20, 0, 2**40])) == [1, 20, 0, 2**40]


GOOD = encoded(VIEW, [1, 2, 3, 4])


@pytest.mark.parametrize(
    "given",
    [
        "x",
        "7",
        GOOD + ".5",
        GOOD.rpartition(".")[0],
        GOOD.replace("on-the-way", "other"),
        GOOD.replace(".v1.", ".v2."),
        GOOD + "\n",
        GOOD + "0" * 40,
        GOOD.replace(".1.", ".-1."),
        GOOD.replace(".1.", ".١."),
        "x" * 100_000,
    ],
)
def test_a_cursor_that_was_never_given_is_refused(given):
    with pytest.raises(Problem) as refused:
        cursor_of(DOMAIN, VIEW, given)
    assert refused.value.status_code == 400


@pytest.mark.parametrize("seconds", [RESUMABLE_SECONDS + 5, -3600])
def test_a_cursor_of_another_time_has_expired(seconds):
    given = encoded(VIEW, [1, 2, 3, 4])
    name, _, rest = given.partition(".v1.")
    said = int(rest[:8], 16) - seconds
    with pytest.raises(Problem) as refused:
        cursor_of(DOMAIN, VIEW, f"{name}.v1.{said:08x}{rest[8:]}")
    assert refused.value.status_code == 410
