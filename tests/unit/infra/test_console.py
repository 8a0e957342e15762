"""Commands show text as it is: what strangers wrote neither becomes pictures nor steers the terminal."""

import errno
import json
import os
from datetime import UTC, datetime
from uuid import UUID

import pytest
import typer
from rich.color import ColorSystem
from rich.table import Table
from rich.text import Text

from infra.console import Exit, PlainConsole, clear_errors, show_json, visible

HOSTILE = "\x1b]0;title\x1b\\ \x1b[2J \x9b31m \x07"


def shown(*what, **how):
    console = PlainConsole()
    with console.capture() as captured:
        console.print(*what, **how)
    return captured.get()


@pytest.mark.parametrize("text", ["a:key:b", ":heart:", '{"urn": "x:id:y"}'])
def test_text_becomes_no_picture(text):
    assert shown(text, markup=False) == f"{text}\n"
    table = Table("column")
    table.add_row(text)
    assert text in shown(table)


@pytest.mark.parametrize("kind", [str, Text, "cell"])
def test_text_does_not_steer_the_terminal(kind):
    table = Table("column", width=120)
    table.add_row(HOSTILE)
    told = shown(table) if kind == "cell" else shown(kind(HOSTILE), **({"markup": False} if kind is str else {}))
    assert not set(told) & set("\x1b\x9b\x07")
    assert "\\u001b]0;title" in told


def test_our_own_colours_stay():
    console = PlainConsole()
    console._color_system = ColorSystem.STANDARD
    with console.capture() as captured:
        console.print("[red]no[/] \x1b[2J")
    assert captured.get() == "\x1b[31mno\x1b[0m \\u001b[2J\n"


def test_json_is_one_line_of_the_same_value(capsys):
    value = {"text": HOSTILE, "half": "\ud800", "own": "Käse\n"}
    show_json(value)
    told = capsys.readouterr().out
    assert json.loads(told) == value
    assert told.removesuffix("\n").isprintable()


def test_times_in_json_are_those_of_rfc_3339(capsys):
    show_json({"at": datetime(2010, 12, 1, 8, 26, tzinfo=UTC), "who": UUID(int=7)})
    told = {"at": "2010-12-01T08:26:00+00:00", "who": "00000000-0000-0000-0000-000000000007"}
    assert json.loads(capsys.readouterr().out) == told


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_the_machine_refuses_is_one_sentence(capsys, code):
    with pytest.raises(typer.Exit) as ended, clear_errors():
        raise OSError(code, os.strerror(code), "/srv/state.json")
    assert ended.value.exit_code == Exit.FAILURE
    assert capsys.readouterr().err == f"/srv/state.json: {os.strerror(code)}\ntry: headrace doctor\n"


def test_an_error_that_nobody_foresaw_is_not_hidden():
    with pytest.raises(BrokenPipeError), clear_errors():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_line_ends_and_tabs_are_harmless():
    assert visible("a\tb\nc") == "a\tb\nc"
