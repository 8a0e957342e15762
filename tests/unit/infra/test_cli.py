"""The command itself, before any command of it has begun."""

import pytest

from infra import cli


def test_who_interrupts_it_while_it_loads_sees_no_stack(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "root", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
