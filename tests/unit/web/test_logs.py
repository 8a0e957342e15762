"""Log lines are JSON objects in ECS names, and carry the ids of the request."""

import json
import subprocess
import sys

SPEAKS = """
import logging, structlog
from infra import logs, settings, telemetry
logs.configure(settings.load())
logging.getLogger("a").info("before %s", "any")
telemetry.CONTEXT.set(telemetry.begin("r-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
structlog.get_logger("b").warning("in a request", stream="orders-1")
logging.getLogger("c").debug("too quiet")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("d").exception("it broke\\nin two lines")
"""


def test_each_line_is_one_object_that_names_its_request(tmp_path):
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch(0o600)
    told = {"HEADRACE_PRINCIPAL": "orders-write", "HEADRACE_CREDENTIALS": str(tmp_path), "HEADRACE_LOG_LEVEL": "info"}
    spoken = subprocess.run(
        [sys.executable, "-c", SPEAKS], env=told, capture_output=True, text=True, timeout=60, check=True
    )
    assert spoken.stdout == ""
    before, request, broken = map(json.loads, spoken.stderr.splitlines())
    assert (before["message"], before["log"]["logger"], before["log.level"]) == ("before any", "a", "info")
    assert "http" not in before
    assert request["http"]["request"]["id"] == "r-1"
    assert request["trace"]["id"] == "0af7651916cd43dd8448eb211c80319c"
    assert (request["stream"], request["service"]["name"]) == ("orders-1", "orders-write")
    assert "ZeroDivisionError" in broken["error"]["stack_trace"]
