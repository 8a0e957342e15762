"""What guards a fold against effects sees what code imports when it runs, and takes no import for an effect."""

import asyncio.events
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import pytest
from confluent_kafka import Producer

from domains.orders import domain
from projections.errors import RebuildRefused
from projections.refolding.effects import door, harmless, refused

VIEW = domain.views[0]
FOLD = "def project(row, event):\n    from {} import tell\n    return tell(row, event)\n"


def view(mill, beside):
    (mill / "views.py").write_text(FOLD.format(beside))
    return replace(VIEW, project=import_module("mill.views").project)


def test_what_is_imported_for_the_first_time_is_no_effect(mill):
    (mill / "wheel.py").write_text("def tell(row, event):\n    return row\n")
    with refused() as guard:
        assert import_module("mill.wheel").tell(1, 2) == 1
    assert guard.reached is None
    assert sys.dont_write_bytecode is False


@pytest.mark.parametrize("beside", [".kafka", "mill.kafka"])
def test_what_code_imports_when_it_runs_is_looked_into(mill, beside):
    held = "from confluent_kafka import Producer\ndef tell(row, event):\n    Producer({})\n"
    (mill / "kafka.py").write_text(held)
    with pytest.raises(RebuildRefused, match=r"reaches project\.mill\.kafka\.tell\.Producer, which is of cimpl"):
        harmless(view(mill, beside))


def test_an_import_with_an_effect_is_refused_before_it_has_it(mill, tmp_path):
    (mill / "loud.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\ndef tell(row, event):\n    return row\n")
    with pytest.raises(RebuildRefused, match=r"what order-details imports did open for writing .*trace"):
        harmless(view(mill, ".loud"))
    assert not (tmp_path / "trace").exists()


def test_a_view_that_answers_to_any_name_is_looked_into():
    class Sly:
        def __getattr__(self, name):
            return print

        def __call__(self, row, event):
            return Producer({"row": row, "event": event})

    with pytest.raises(RebuildRefused, match=r"Sly\.__call__\.Producer, which is of cimpl"):
        harmless(replace(VIEW, project=Sly()))


def test_a_client_of_kafka_that_nobody_has_imported_is_seen():
    call = """
import sys
from dataclasses import replace
from domains.orders import domain
from projections.refolding.effects import harmless

def project(row, event):
    from confluent_kafka import Producer
    return Producer({})

assert "confluent_kafka" not in sys.modules
harmless(replace(domain.views[0], project=project))
"""
    found = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=False)
    assert "reaches project.confluent_kafka.Producer, which is of cimpl" in found.stderr


def test_a_door_that_python_has_made_private_is_watched(monkeypatch):
    policy = asyncio.events.BaseDefaultEventLoopPolicy
    monkeypatch.delattr(asyncio.events, "BaseDefaultEventLoopPolicy")
    monkeypatch.setattr(asyncio.events, "_BaseDefaultEventLoopPolicy", policy, raising=False)
    assert door("asyncio.events", "BaseDefaultEventLoopPolicy", "get_event_loop") == (policy, "get_event_loop")
