"""The command itself, before any command of it has begun."""

from io import StringIO

import pytest
from rich.console import Console

from infra import cli, commands


def test_who_interrupts_it_while_it_loads_sees_no_stack(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "root", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130


class Hostile:
    """A record as a stranger may send it."""

    def key(self):
        return b"\x1b[2J"

    def value(self):
        return b'{"x": "\x1b]0;mine\x07 [bold]"}'


def test_a_record_speaks_to_no_terminal(monkeypatch):
    shown = StringIO()
    monkeypatch.setattr(commands, "out", Console(file=shown, soft_wrap=True, highlight=False))
    commands.show_record(Hostile(), as_json=False)
    assert shown.getvalue() == '\\x1b[2J {"x": "\\x1b]0;mine\\x07 [bold]"}\n'
