"""A fingerprint of a view's code: what makes no other rows leaves it, and whatever could make others changes it."""

import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from textwrap import dedent

import pytest

from domains.kernel import Row, Upcaster
from domains.orders import domain
from projections.code import fingerprint, reached
from projections.migrate import inputs

VIEW = domain.views[1]
SOURCE = """
    from functools import lru_cache, partial
    from domains.kernel import Row

    RATES = {"GBP": 2, "EUR": 3}
    KINDS = {"a", "b", "c"}

    def helper(value, most=7):
        return min(value, most)

    @lru_cache
    def cached(value):
        return value * 5

    class Rate:
        def __init__(self, rate):
            self.rate = rate

        def __mul__(self, other):
            return self.rate * other * 11

        @property
        def doubled(self):
            return self.rate * 13

    UNIT = Rate(17)

    def project(row, event):
        def inner(value):
            return value + 19
        kept = [one for one in KINDS if one in ("a", "b")]
        return inner(helper(cached(RATES["GBP"]))) * UNIT.doubled, kept, least(3)

    def least(value, by=lambda value: value - 23):
        return by(value)
"""


def of(source, begin="project"):
    """The fingerprint of the view with the fold that this makes."""
    names = {"__name__": "shop.views"}
    exec(compile(dedent(source), "shop", "exec"), names)  # noqa: S102
    return fingerprint(domain, replace(VIEW, project=names[begin], key_of=names[begin]))


def test_places_comments_and_what_is_not_reached_count_for_nothing():
    moved = SOURCE.replace("    def helper", "\n\n    # a remark\n    def helper") + "\n    def unused(): return 29\n"
    assert of(SOURCE) == of(SOURCE) == of(moved)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("+ 19", "+ 20"),
        ("most=7", "most=8"),
        ("value * 5", "value * 6"),
        ('"GBP": 2', '"GBP": 4'),
        ('"a", "b", "c"', '"a", "b", "d"'),
        ("other * 11", "other * 12"),
        ("self.rate * 13", "self.rate * 14"),
        ("Rate(17)", "Rate(18)"),
        ("value - 23", "value - 24"),
        ("min(", "max("),
        ('one in ("a", "b")', 'one in ("a", "c")'),
        ("inner(helper(cached(", "inner(cached(helper("),
    ],
)
def test_whatever_the_code_reaches_counts(before, after):
    assert SOURCE.replace(before, after) != SOURCE
    assert of(SOURCE) != of(SOURCE.replace(before, after))


def test_a_closure_counts():
    source = (
        "def make(rate):\n    def project(row, event):\n        return rate\n    return project\nproject = make({})"
    )
    assert of(source.format(1)) == of(source.format(1)) != of(source.format(2))


class Sales(Row):
    country: str
    orders: int = 1


def test_the_row_the_key_and_what_older_events_become_count():
    known = fingerprint(domain, VIEW)
    assert fingerprint(domain, replace(VIEW, row=Sales, filters=())) != known
    assert fingerprint(domain, replace(VIEW, key_of=lambda event: event.currency)) != known
    first, second = (with_upcaster(change) for change in (lambda data: data, lambda data: {**data, "country": "EIRE"}))
    assert fingerprint(first, VIEW) != fingerprint(second, VIEW)


def test_the_step_that_looks_at_it_is_run_again_when_it_has_changed():
    views = (replace(VIEW, project=lambda row, _: row), *domain.views[2:])
    assert inputs(domain) == inputs(domain) != inputs(replace(domain, views=(domain.views[0], *views)))


def with_upcaster(change):
    """The domain, one of whose types has a second version."""
    [kind, *others] = domain.events
    events = {kind.replace(".v1", ".v2"): domain.events[kind], **{other: domain.events[other] for other in others}}
    return replace(domain, events=events, upcasters=(Upcaster(kind, change),))


def test_every_process_finds_the_same():
    call = "from domains.orders import domain\nfrom projections.code import fingerprint\n"
    call += "print(*(fingerprint(domain, view) for view in domain.views))"

    def told(seed):
        return subprocess.check_output([sys.executable, "-c", call], env={**os.environ, "PYTHONHASHSEED": seed})

    here = " ".join(fingerprint(domain, view) for view in domain.views)
    assert [told("1").decode().split(), told("2").decode().split()] == [here.split()] * 2


def test_what_others_have_made_is_told_and_not_looked_into():
    found = [one for _, one in reached(VIEW.key_of, VIEW.project)]
    assert Decimal in found
    assert Decimal.quantize not in found
