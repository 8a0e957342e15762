"""What the README tells people to type, typed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
HEADRACE = Path(sys.executable).with_name("headrace")
README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(floor):
    """A folder with a system of its own, as a second clone would have."""
    place = floor.folder.with_name(f"{floor.folder.name}-readme")
    (place / ".headrace").mkdir(parents=True)
    (place / ".headrace" / "cache").symlink_to(floor.cache)
    (place / ".venv" / "bin").mkdir(parents=True)
    (place / ".venv" / "bin" / "headrace").symlink_to(HEADRACE)
    try:
        yield place
    finally:
        run(place, ".venv/bin/headrace down")


def run(folder, line):
    done = subprocess.run(line.split(), cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert "\x1b[" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_the_two_commands_are_targets_of_the_makefile():
    makefile = (PROJECT / "Makefile").read_text()
    for line in BLOCKS[0].splitlines():
        (target,) = re.match(r"make (\w+)", line).groups()
        assert re.search(rf"^(\w+ )*{target}( \w+)*:", makefile, re.MULTILINE)


def test_the_commands_do_what_the_readme_says(folder):
    assert run(folder, ".venv/bin/headrace up").returncode == 0
    answers = {line: run(folder, line) for line in BLOCKS[1].splitlines()}
    assert {done.returncode for done in answers.values()} == {0}
    status = json.loads(answers[".venv/bin/headrace status --json"].stdout)
    assert {part["state"] for part in status["components"]} == {"running"}
    assert {"postgres", "kafka", "issuer", "orders-write"} <= {part["name"] for part in status["components"]}
    assert "orders.events.v1" in answers[".venv/bin/headrace topics"].stdout
    settings = json.loads(answers[".venv/bin/headrace topics --settings --json"].stdout)
    assert settings["username"] == "kafka-ui"
    assert Path(settings["password_file"]).stat().st_mode & 0o077 == 0


def test_the_session_with_curl_does_what_it_says(folder):
    run(folder, ".venv/bin/headrace up")
    (session,) = re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    call = ["bash", "-euo", "pipefail", "-c", session]
    done = subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    placed, row, refused = answers(done.stdout)
    assert placed["version"] == 1
    assert (row["status"], row["total"]) == ("placed", "15.30")
    assert (refused["status"], refused["actual_version"]) == (412, 1)
    assert (folder / "placed.txt").read_text().split()[1] == "201"


def answers(text):
    """The JSON documents of a text, one after the other."""
    found, at, decoder = [], 0, json.JSONDecoder()
    while at < len(text.rstrip()):
        value, at = decoder.raw_decode(text, at)
        found.append(value)
    return found


def test_an_unknown_stream_or_topic_is_said_with_exit_code_3(folder):
    run(folder, ".venv/bin/headrace up")
    for line in ("replay orders-nobody", "replay nothing-1", "topics tail nothing.at.all"):
        done = run(folder, f".venv/bin/headrace {line}")
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.strip()


def test_a_system_that_is_down_is_said_with_exit_code_69(folder):
    run(folder, ".venv/bin/headrace down")
    for line in ("replay orders-1", "topics"):
        assert run(folder, f".venv/bin/headrace {line}").returncode == 69
