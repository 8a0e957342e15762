"""A fingerprint takes in what code imports when it runs, whether or not it has run."""

import sys
from dataclasses import replace
from importlib import import_module

import pytest

from domains.orders import domain
from projections.code import fingerprint

VIEW = domain.views[1]


@pytest.mark.parametrize(
    "imports",
    [
        "from .rates import RATE",
        "from . import rates",
        "from mill import rates",
        "from mill.rates import RATE",
        "import mill.rates",
    ],
)
def test_what_is_imported_when_code_runs_counts_whether_or_not_it_has_run(mill, imports):
    (mill / "views.py").write_text(
        f"def project(row, event):\n    {imports}\n    return mill.rates.RATE if 'mill' in vars() else locals()\n"
    )

    def found(rate):
        (mill / "rates.py").write_text(f"RATE = {rate}\n")
        for name in [name for name in sys.modules if name.partition(".")[0] == "mill"]:
            del sys.modules[name]
        project = import_module("mill.views").project
        before = fingerprint(domain, replace(VIEW, project=project))
        project(None, None)
        assert fingerprint(domain, replace(VIEW, project=project)) == before
        return before

    assert found(2) == found(2) != found(35)


def test_what_cannot_be_imported_here_stops_nothing(mill):
    (mill / "settings.py").write_text("RATE = {}['RATE']\n")
    (mill / "views.py").write_text("def project(row, event):\n    from .settings import RATE\n    return RATE\n")
    view = replace(VIEW, project=import_module("mill.views").project)
    assert fingerprint(domain, view) == fingerprint(domain, view)
