import sys

import pytest


@pytest.fixture
def mill(tmp_path, monkeypatch):
    """A package of which nothing is imported, nor compiled."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mill").mkdir()
    (tmp_path / "mill" / "__init__.py").touch()
    yield tmp_path / "mill"
    for name in [name for name in sys.modules if name.partition(".")[0] == "mill"]:
        del sys.modules[name]
