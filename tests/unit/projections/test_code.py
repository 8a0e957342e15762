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


MOVED = """
        except ValueError:
            row = 0
        else:
            row = OTHER
""".lstrip("\n")
MORE = """
    import functools, logging, math, re
    from types import SimpleNamespace
    from typing import NamedTuple
    from pydantic import AfterValidator, Field, TypeAdapter, field_validator
    from typing import Annotated
    from domains.kernel import Row

    C, OTHER = 20, 30
    RATES = {"GBP": 20, "EUR": 20, "USD": 25}
    WORD = re.compile("%s")
    SPAN = range(3)
    SPACE = SimpleNamespace(a=1)
    CALLS = {"round": math.floor}

    class R(NamedTuple):
        a: int
        b: int
    BOTH = R(1, 2)

    class Kept:
        def __init__(self, rate):
            self.rate = rate
    FIRST, SECOND = Kept(1), Kept(2)
    NAMED = {"first": FIRST, "second": SECOND}

    class Held(Row):
        @field_validator("number", mode="before")
        @classmethod
        def checked(cls, value):
            return value

        number: int = Field(0, ge=0)
        other: Annotated[int, AfterValidator(lambda value: value * 43)] = 0
        more: list[Annotated[int, AfterValidator(lambda value: value * 47)]] = []
    LISTED = TypeAdapter(list[Held])
    LOG = logging.getLogger("shop")
    MANY = {Kept, math.floor, 7, "x", (1, "y")}

    def tried(row):
        try:
            row = C
            row = OTHER
        except ValueError:
            row = 0
        return row

    @functools.singledispatch
    def kind(event):
        return 0

    @kind.register
    def _(event: int):
        return 41

    def keyed(*, low, high):
        return low - high

    def project(row, event):
        known = FIRST, SECOND, NAMED, RATES, WORD, SPAN, SPACE, CALLS, BOTH, LISTED, LOG, MANY
        return known, tried(row), kind(event), keyed(low=1, high=2)
""" % ("a" * 250)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"EUR": 20', '"CHF": 20'),
        ('"EUR": 20', '"EUR": 25'),
        ('"USD": 25', '"USD": 25, "CHF": 20'),
        ("C, OTHER = 20", "C, OTHER = 30"),
        ("R(1, 2)", "R(2, 1)"),
        ('"first": FIRST, "second": SECOND', '"first": SECOND, "second": FIRST'),
        ("            row = OTHER\n        except ValueError:\n            row = 0\n", MOVED),
        ("return 41", "return 42"),
        ("event: int", "event: str"),
        ("a" * 250, "a" * 249 + "b"),
        ("range(3)", "range(4)"),
        ("SimpleNamespace(a=1)", "SimpleNamespace(a=5)"),
        ("ge=0", "ge=5"),
        ('"number", mode', '"other", mode'),
        ('"before"', '"after"'),
        ("value * 43", "value * 44"),
        ("value * 47", "value * 48"),
        ("math.floor", "math.ceil"),
        ("*, low, high", "*, high, low"),
    ],
)
def test_the_same_values_elsewhere_count(before, after):
    assert MORE.replace(before, after) != MORE
    assert of(MORE) == of(MORE) != of(MORE.replace(before, after))


def test_how_it_was_compiled_counts_for_nothing(tmp_path):
    (tmp_path / "shop.py").write_text(dedent(MORE))
    call = dedent("""
        from dataclasses import replace
        from domains.orders import domain
        from projections.code import fingerprint
        import shop
        print(fingerprint(domain, replace(domain.views[1], project=shop.project, key_of=shop.project)))
    """)

    def told(seed, *options):
        kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        known = {**kept, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
        return subprocess.check_output([sys.executable, *options, "-c", call], env=known).strip()

    fresh = told("1", "-B")
    assert not (tmp_path / "__pycache__").exists()
    assert {told("2"), told("3"), told("1", "-O"), told("2", "-O")} == {fresh}
    assert (tmp_path / "__pycache__").exists()


def test_a_closure_counts():
    source = (
        "def make(rate):\n    def project(row, event):\n        return rate\n    return project\nproject = make({})"
    )
    assert of(source.format(1)) == of(source.format(1)) != of(source.format(2))


def test_a_bound_method_counts_with_all_that_it_names():
    source = (
        "RATE = {}\ndef helper(): return RATE\nclass Kept:\n    def project(self, row, event): return helper()\n"
        "project = Kept().project"
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


HELD = """
    import collections, datetime, decimal, fractions, functools, operator
    from enum import Enum

    class Money(decimal.Decimal):
        def rounded(self):
            return self * 3

    class Kind(Enum):
        A = 1

        @property
        def rate(self):
            return 5

    class Open:
        __slots__ = "rate"

        def __init__(self, rate):
            self.rate = rate

    class Closed:
        __slots__ = ("__rate",)

        def __init__(self, rate):
            self.__rate = rate

    EXACT = decimal.Context(prec=28, rounding=decimal.ROUND_UP)
    NAME, SKU = operator.attrgetter("name"), operator.itemgetter("sku")
    THIRD = fractions.Fraction(1, 3)
    RATES = collections.defaultdict(lambda: 7)
    COIN, KIND = Money("1"), {"first": Kind.A}
    OPEN, CLOSED = Open(11), Closed(13)

    def project(row, event):
        return EXACT, NAME, SKU, THIRD, RATES, COIN, KIND, OPEN, CLOSED
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ROUND_UP", "ROUND_DOWN"),
        ("prec=28", "prec=6"),
        ('getter("name")', 'getter("sku")'),
        ('getter("sku")', 'getter("name")'),
        ("(1, 3)", "(1, 4)"),
        ("lambda: 7", "lambda: 8"),
        ("self * 3", "self * 4"),
        ("return 5", "return 6"),
        ("Open(11)", "Open(12)"),
        ("Closed(13)", "Closed(14)"),
    ],
)
def test_what_a_value_keeps_to_itself_counts(before, after):
    assert HELD.replace(before, after) != HELD
    assert of(HELD) == of(HELD) != of(HELD.replace(before, after))


def test_what_a_context_has_met_counts_for_nothing():
    met = HELD.replace("    THIRD =", "    EXACT.divide(decimal.Decimal(1), decimal.Decimal(3))\n    THIRD =")
    assert met != HELD
    assert of(met) == of(HELD)


@pytest.mark.parametrize(
    "held",
    [
        "HELD = []\nHELD.append(HELD)",
        "HELD = ()\nfor _ in range(60): HELD = (HELD, 1)",
        "HELD = []\nfor _ in range(2000): HELD = [HELD]",
        "class Keyed:\n    def __getattr__(self, name): return {}[name]\nHELD = Keyed()",
        "class Path:\n    def __getattr__(self, name): return Path()\nHELD = Path()",
        "import enum\nHELD, OTHER = enum.Enum('Side', 'A B')\nHELD.other, OTHER.other = OTHER, HELD",
        "import datetime\nclass Here(datetime.tzinfo): pass\nHELD = Here()",
    ],
)
@pytest.mark.timeout(30)
def test_whatever_is_held_a_fingerprint_has_an_end(held):
    source = held + "\ndef project(row, event):\n    return HELD\n"
    assert of(source) == of(source)


def test_a_set_of_things_that_look_the_same_has_one_order():
    class Rate:
        def __init__(self, rate):
            self.rate = rate

    rates = [Rate(number) for number in range(20)]
    first, second = (
        with_held({rates[number] for number in order}) for order in (range(20), [*range(10, 20), *range(10)])
    )
    assert first == second == with_held({Rate(number) for number in range(20)})


def with_held(held):
    return fingerprint(domain, replace(VIEW, project=lambda row, event: (row, event, held)))
