"""What the terminal shows of projections can be read on a usual one."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from domains.orders import domain
from projections import commands, listed, verify_commands
from projections.refolding.drift import Drift, Verified
from projections.verify_commands import SHOWN
from projections.watch import Watched

HEADINGS = ["position", "behind", "seconds", "rate", "ETA", "parked", "drift"]
FIGURES = ["12345678", "9999", "86400.5", "20515", "99", "min", "1000", "4321"]


@pytest.fixture
def terminal():
    return Console(file=StringIO(), force_terminal=True, width=80, soft_wrap=True, color_system=None)


def watched(view, error=None):
    values = 12_345_678, 12_355_677, 9_999, 86_400.5, 20_515, 5_940.0, 1_000, error, {"order": "1"}, 4_321
    return Watched(domain.name, view, *values)


def test_80_columns_are_enough_to_watch(terminal):
    terminal.print(
        commands.table([watched(domain.views[0].name), watched(domain.views[1].name, "KeyError: '\x1b[2Jx'")])
    )
    heading, first, second, *rest = terminal.file.getvalue().splitlines()
    assert heading.split() == ["projection", *HEADINGS]
    assert first.split() == [f"orders/{domain.views[0].name}", *FIGURES]
    assert second.split()[0] == f"orders/{domain.views[1].name}"
    assert any("KeyError: '\\x1b[2Jx'" in line for line in rest)
    assert max(map(len, (heading, first, second))) <= terminal.width


def test_why_a_projection_does_not_go_on_is_told_before_all_else(terminal):
    line = replace(watched(domain.views[0].name, "KeyError: 1"), problem="projection: no room", problem_seconds=12.4)
    terminal.print(commands.table([line, replace(line, view=domain.views[1].name, problem_seconds=0.0)]))
    *_, first, second = terminal.file.getvalue().splitlines()
    assert first.rstrip().endswith("projection: no room (for 12 s)")
    assert second.rstrip().endswith("projection: no room")


def test_80_columns_are_enough_to_verify(terminal, monkeypatch):
    for module in (verify_commands, listed):
        monkeypatch.setattr(module, "out", terminal)
    names = [f"orders/{view.name}" for view in domain.views]
    verify_commands.show([Verified(name, None, 1_000_000, 9_000_000, 12_345_678, []) for name in names])
    assert all(name in terminal.file.getvalue() for name in names)
    drift = [Drift(f"{number:0>90}", "lines", ["was"], ["is"] * 20, number) for number in range(SHOWN + 7)]
    verify_commands.show([Verified(names[0], None, 1_000_000, 9_000_000, 12_345_678, drift)])
    said = terminal.file.getvalue()
    assert f"key     {1:0>90}\ncolumn  lines\nlive    ['was']\nfolded  {['is'] * 20}\nsince   1\n" in said
    assert said.endswith("\n\n7 more columns differ: --json tells all\n")
    verify_commands.show([Verified(names[0], None, 1_000_000, 9_000_000, 12_345_678, drift[: SHOWN + 1])])
    assert terminal.file.getvalue().endswith("\n\n1 more column differs: --json tells all\n")
