"""What is told of a projection whose process is not well, or away."""

import json
import threading
from types import SimpleNamespace

import pytest

from projections import readiness
from projections.commands import Followed, unready
from projections.errors import ReadUnavailable
from projections.readiness import LONGEST, Readiness
from projections.watch import Watched

WELL = {"projection": "ok", "events topic": "ok", "identity provider": "ok"}


def body(**checks):
    return json.dumps(
        {"status": "not ready", "checks": WELL | {name.replace("_", " "): why for name, why in checks.items()}}
    )


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (None, None),
        (body(identity_provider="no keys"), None),
        (body(projection="the disk is full"), "projection: the disk is full"),
        (body(projection="a", events_topic="b"), "projection: a; events topic: b"),
        ("no answer on its health port: refused", "no answer on its health port: refused"),
        (body(projection="x" * 5000)[:4096], body(projection="x" * 5000)[:LONGEST]),
        ("[1]", "[1]"),
        ('{"checks": [1]}', '{"checks": [1]}'),
    ],
    ids=["well", "of others", "one", "two", "away", "cut off", "a list", "no checks"],
)
async def test_what_is_wrong_with_the_projection_is_told_and_nothing_else(said, told):
    found = await Readiness(lambda: said).look()
    assert (found and found.why) == told


async def test_a_problem_is_as_old_as_it_is_seen_whatever_its_words():
    said = iter([body(projection="takes 9 s"), body(projection="takes 11 s"), body(events_topic="none"), None, "away"])
    now = iter([100.0, 102.5, 107.0, 200.0])
    asked = Readiness(lambda: next(said), lambda: next(now))
    seen = [await asked.look() for _ in range(5)]
    assert [one and one.seconds for one in seen] == [0.0, 2.5, 7.0, None, 0.0]


async def test_a_process_that_does_not_answer_keeps_nobody_waiting(monkeypatch):
    monkeypatch.setattr(readiness, "SECONDS", 0.01)
    answered = threading.Event()
    found = await Readiness(answered.wait).look()
    answered.set()
    assert "has not answered" in found.why


class Watcher:
    """Looks that end one after another."""

    def __init__(self, *looks):
        self._looks = iter(looks)

    async def look(self):
        found = next(self._looks)
        if isinstance(found, Exception):
            raise found
        return [found]


async def test_an_outage_is_told_with_what_was_seen_before_it_and_ends_a_first_look():
    line = Watched("orders", "order-details", 7, 7, 0, 0.0, 0.0, 0.0, 0, None, None)
    down, now = ReadUnavailable("connection refused"), iter([10.0, 12.5])
    followed = Followed(Watcher(line, down, down, line), Readiness(lambda: None, lambda: next(now)))
    seen = [(await followed.look())[0] for _ in range(4)]
    assert [(one.problem, one.problem_seconds) for one in seen[1:3]] == [
        ("connection refused", 0.0),
        ("connection refused", 2.5),
    ]
    assert (seen[0], seen[1].position, seen[3]) == (line, 7, line)
    with pytest.raises(ReadUnavailable):
        await Followed(Watcher(down), Readiness(lambda: None)).look()


def test_a_process_that_does_not_run_is_no_silent_one():
    away = SimpleNamespace(state=SimpleNamespace(running=lambda _: None))
    assert unready(away, "orders-read") == "orders-read does not run: headrace up"
