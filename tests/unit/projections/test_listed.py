"""What commands list for people: whole, and only text."""

from io import StringIO

import pytest
from rich.console import Console

from infra.console import out, printable
from projections import listed as module
from projections.dlq_commands import summary, whole
from projections.letters import Letter
from projections.listed import listed
from projections.placed import Arrived

KEY = "orders-" + "k" * 200
HOSTILE = b"\x1b[31mred\x07\r\x00 [bold]\xff"
RECORD = Arrived("orders.events.v1", 3, 7, KEY.encode(), HOSTILE, [("\x1b[2J", HOSTILE)])


@pytest.fixture
def terminal(monkeypatch):
    console = Console(file=StringIO(), force_terminal=True, width=80, soft_wrap=out.soft_wrap, highlight=False)
    monkeypatch.setattr(module, "out", console)
    return console


@pytest.mark.parametrize("told", [summary, whole])
def test_nothing_is_cut_and_nothing_speaks_to_the_terminal(terminal, told):
    listed("none", [told(Letter(0, RECORD, HOSTILE.decode(errors="replace"), "2026-11-27T22:24:05Z"))])
    said = terminal.file.getvalue()
    assert f"key        {KEY}\n" in said
    assert "reason     \\x1b[31mred\\x07\\r\\x00 [bold]" in said
    assert all(character.isprintable() for character in said.replace("\n", ""))


def test_each_is_told_after_the_other_without_what_says_nothing(terminal):
    listed("none", [{"key": "a", "first_at": 1, "error": None}, {"key": "b", "first_at": 2, "error": "e"}])
    assert terminal.file.getvalue() == "key       a\nfirst at  1\n\nkey       b\nfirst at  2\nerror     e\n"


def test_that_there_is_nothing_is_said(terminal):
    listed("nothing is parked", [])
    assert terminal.file.getvalue() == "nothing is parked\n"


def test_what_people_write_stays_as_it_is():
    assert printable("Zoë, 東京 – £5") == "Zoë, 東京 – £5"
