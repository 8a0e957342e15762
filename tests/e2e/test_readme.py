"""What the README tells people to type, typed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
HEADRACE = Path(sys.executable).with_name("headrace")
README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


DOWN = ".venv/bin/headrace down"


@pytest.fixture(scope="module")
def folder(system):
    """Where the system stands, as a clone of the project."""
    program = system.folder.parent / ".venv" / "bin" / "headrace"
    program.parent.mkdir(parents=True)
    program.symlink_to(HEADRACE)
    return system.folder.parent


@pytest.fixture
def run(system):
    """Runs a line as a person would type it."""

    def typed(line):
        done = system.run(line.split())
        assert "\x1b[" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return typed


def test_the_two_commands_are_targets_of_the_makefile():
    makefile = (PROJECT / "Makefile").read_text()
    for line in BLOCKS[0].splitlines():
        (target,) = re.match(r"make (\w+)", line).groups()
        assert re.search(rf"^(\w+ )*{target}( \w+)*:", makefile, re.MULTILINE)


@pytest.mark.usefixtures("folder")
def test_the_commands_do_what_the_readme_says(run):
    *lines, last = BLOCKS[1].splitlines()
    answers = {line: run(line) for line in lines}
    assert last == DOWN
    assert {done.returncode for done in answers.values()} == {0}
    status = json.loads(answers[".venv/bin/headrace status --json"].stdout)
    assert {part["state"] for part in status["components"]} == {"running"}
    assert {"postgres", "kafka", "issuer", "orders-write"} <= {part["name"] for part in status["components"]}
    assert "orders.events.v1" in answers[".venv/bin/headrace topics"].stdout
    settings = json.loads(answers[".venv/bin/headrace topics --settings --json"].stdout)
    assert settings["username"] == "kafka-ui"
    assert Path(settings["password_file"]).stat().st_mode & 0o077 == 0


def test_the_session_with_curl_does_what_it_says(system, folder):
    (session,) = re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    done = system.run(["bash", "-euo", "pipefail", "-c", session])
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


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("what", ["replay orders-nobody", "replay nothing-1", "topics tail nothing.at.all"])
def test_an_unknown_stream_or_topic_is_said_with_exit_code_3(run, what):
    done = run(f".venv/bin/headrace {what}")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.strip()


def test_a_system_that_is_down_is_said_with_exit_code_69(tmp_path):
    (tmp_path / ".headrace").mkdir()
    for expected, line in ((0, "down"), (69, "replay orders-1"), (69, "topics")):
        call = [HEADRACE, *line.split()]
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (expected, "")
