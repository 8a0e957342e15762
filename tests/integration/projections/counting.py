"""A domain that counts, so that whatever is lost or doubled shows."""

from datetime import UTC, datetime

from domains.kernel import Decider, Domain, Event, Row, View

AT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


class Counted(Event):
    counter: str


class Count(Row):
    counter: str
    count: int


def count(row, event):
    return Count(counter=event.counter, count=(row.count if row else 0) + 1)


def count_all(row, _):
    return Count(counter="all", count=(row.count if row else 0) + 1)


def counting(name):
    return Domain(
        name=name,
        identity="counter",
        commands={},
        events={f"{name}.Counted.v1": Counted},
        decider=Decider(None, lambda state, _: state, lambda *_: ()),
        views=(
            View("counts", Count, "counter", lambda event: event.counter, count),
            View("sums", Count, "counter", lambda _: "all", count_all, shared=True),
        ),
    )
