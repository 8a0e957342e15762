"""The wheel, in an environment that holds nothing but what the lock names."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[3]
PACKAGES = ("domains", "eventstore", "projections", "gateway", "infra")
LOCK = PROJECT / "infra" / "locks" / "runtime.txt"
COMPILED = "__pycache__"
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")
OF_A_DOMAIN = ("domains", "projections", "projections.refolding")
PROCESSES = (*OF_A_DOMAIN, "projections.console", "eventstore", "gateway", "infra.issuer")
RESOURCES = {".sql", ".xml", ".typed", ".html", ".css", ".js", ".svg"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of the sources, offline, with the tools that are here."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE"):
        place = PROJECT / name
        copy = shutil.copytree if place.is_dir() else shutil.copy
        copy(place, folder / name)
    call = [sys.executable, *PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder]
    subprocess.run([*call, folder], check=True, timeout=100)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """An interpreter of an environment of its own, with the wheel and links to what the lock names."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder)
    [packages] = folder.glob("lib/python3*/site-packages")
    for line in re.findall(r"^\w.*==[^\\]+", LOCK.read_text(), re.MULTILINE):
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        for file in distribution(wanted.name).files or ():
            if not {"..", COMPILED} & set(file.parts):
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                (packages / file).symlink_to(file.locate())
                compiled = file.locate().with_name(COMPILED)
                if compiled.exists() and not (packages / file).with_name(COMPILED).exists():
                    (packages / file).with_name(COMPILED).symlink_to(compiled)
    python = folder / "bin" / "python"
    pip(python, "install", "--no-compile", "--no-deps", "--no-index", wheel)
    return python


def pip(python, *arguments):
    """Done by our own pip, so that the environment has none."""
    subprocess.run([sys.executable, *PIP, "--python", python, *arguments], check=True, timeout=100)


def run(python, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HEADRACE"))}
    return subprocess.run(
        [python, *arguments],
        cwd=python.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_wheel_holds_every_resource(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    there = {
        str(file.relative_to(PROJECT))
        for package in PACKAGES
        for file in (PROJECT / package).rglob("*")
        if file.suffix in RESOURCES
    }
    assert there
    assert there - held == set()


def test_it_is_whole_in_an_empty_environment(python):
    pip(python, "check")
    told = run(python.with_name("headrace"), "--help")
    assert told.returncode == 0, told.stderr
    assert all(command in told.stdout for command in ("demo", "replay", "watch", "store", "topics"))


@pytest.mark.parametrize("process", PROCESSES)
def test_each_process_asks_for_its_settings(python, process):
    arguments = {"eventstore": ["migrate", "a", "b"], **{one: ["orders"] for one in OF_A_DOMAIN}}
    told = run(python, "-m", process, *arguments.get(process, []))
    assert told.returncode in (1, 2)
    assert "HEADRACE_" in told.stderr
    assert "Traceback" not in told.stderr
