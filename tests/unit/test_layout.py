"""The shape of the tree: what each rule forbids is named with the place where it stands."""

import ast
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PACKAGES = ("domains", "eventstore", "projections", "gateway", "infra")
TOP = {
    *PACKAGES,
    *("tests", "docker-compose.yml", "pyproject.toml", "README.md"),
    *("Makefile", "CHANGELOG.md", "LICENSE", ".ci", ".editorconfig", ".gitignore"),
}
DOMAIN_FILES = {"__init__.py", "events.py", "commands.py", "model.py", "views.py"}
ROWS = re.compile(r"\b(SELECT\b.*\bFROM|INSERT INTO|UPDATE \S+ SET|DELETE FROM)\b", re.DOTALL)
MACHINE = re.compile(r"(?<![\w.])/(root|home/\w+|Users/\w+|work|farm)/")
LONGEST_MODULE = 400

# Errors of one module that leave it only to its direct caller, who turns them into one of the package's own.
BESIDE_THEIR_USE = {
    "domains/orders/demo/load.py": {"TryAgain"},
    "eventstore/evidence/explain.py": {"Found"},
    "eventstore/session.py": {"ConnectionLost", "NotSent", "RolledBack", "SomethingElsewhere"},
    "infra/issuer/grant.py": {"GrantRefused"},
    "infra/web/problems.py": {"Problem"},
}
TWINS = {
    "eventstore.store.EventStore": ("eventstore.memory.MemoryStore", "tests/contract/conftest.py"),
    "eventstore.topic.Topic": ("eventstore.topic.MemoryTopic", "tests/contract/test_relay.py"),
    "eventstore.lead.Lead": ("eventstore.lead.Alone", "tests/contract/test_relay.py"),
    "eventstore.personal.keys.Keys": ("eventstore.personal.keys.MemoryKeys", "tests/contract/test_keys.py"),
    "eventstore.personal.keys.Keeper": ("eventstore.personal.keys.MemoryKeys", "tests/contract/test_keys.py"),
    "projections.rows.ReadDatabase": ("projections.rows.MemoryDatabase", "tests/contract/test_read_database.py"),
}


@cache
def tracked() -> tuple[Path, ...]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True)
    return tuple(Path(name) for name in listed.stdout.split("\0") if name and (PROJECT / name).exists())


def modules(*tops):
    return [path for path in tracked() if path.suffix == ".py" and path.parts[0] in tops]


def text(path):
    return (PROJECT / path).read_text(encoding="utf-8")


def literals(path):
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def classes(path):
    return [node for node in ast.walk(ast.parse(text(path))) if isinstance(node, ast.ClassDef)]


def names_of(nodes):
    return {node.id if isinstance(node, ast.Name) else getattr(node, "attr", "") for node in nodes}


def test_the_top_level_holds_what_it_promises_and_nothing_else():
    assert {path.parts[0] for path in tracked()} == TOP


def test_statements_about_rows_stand_in_sql_files():
    found = [f"{path}:{line}" for path in modules(*PACKAGES) for line, value in literals(path) if ROWS.search(value)]
    assert found == []


def test_errors_stand_in_the_errors_of_their_package():
    errors = {"Exception"}
    everywhere = [(path, one) for path in modules(*PACKAGES) for one in classes(path)]
    while more := {one.name for _, one in everywhere if names_of(one.bases) & errors} - errors:
        errors |= more
    astray = [
        f"{path}: {one.name}"
        for path, one in everywhere
        if one.name in errors and path.name != "errors.py" and one.name not in BESIDE_THEIR_USE.get(path.as_posix(), ())
    ]
    assert astray == []


@pytest.mark.parametrize("port", TWINS)
def test_a_port_has_a_twin_in_memory_that_passes_the_same_suite(port):
    twin, suite = TWINS[port]
    for place in (port, twin):
        module, _, name = place.rpartition(".")
        assert name in {one.name for one in classes(Path(*module.split(".")).with_suffix(".py"))}
    assert re.search(rf"\b{twin.rpartition('.')[2]}\b", text(suite))


def test_no_module_is_too_long_to_be_read_at_once():
    assert [str(path) for path in modules(*PACKAGES, "tests") if text(path).count("\n") > LONGEST_MODULE] == [
        "tests/integration/gateway/test_edge.py"
    ]


def test_each_package_tells_its_types_and_is_built():
    built = tomllib.loads(text("pyproject.toml"))["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {f"{package}*" for package in PACKAGES} == set(built)
    assert all((PROJECT / package / "py.typed").exists() for package in PACKAGES)


def domain_folders():
    return sorted({path.parts[1] for path in modules("domains") if len(path.parts) > 2})


@pytest.mark.parametrize("folder", domain_folders())
def test_a_domain_has_its_files_and_meets_no_other(folder):
    assert {path.name for path in (PROJECT / "domains" / folder).iterdir()} >= DOMAIN_FILES
    strangers = [path for path in modules(*PACKAGES) if path.parts[:2] != ("domains", folder)]
    assert [str(path) for path in strangers if f"domains.{folder}" in imports(path)] == []


def imports(path):
    """The modules that a module imports, to their second name."""
    found = set()
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {".".join(name.split(".")[:2]) for name in found}


def test_the_product_never_imports_its_tests():
    assert [str(path) for path in modules(*PACKAGES) if "tests" in {name.split(".")[0] for name in imports(path)}] == []


def test_each_test_module_holds_tests():
    suites = [path for path in modules("tests") if path.name.startswith("test_")]
    empty = [
        str(path)
        for path in suites
        if not re.search(r"^\s*(async )?def test_|^from eventsourcing", text(path), re.MULTILINE)
    ]
    assert suites
    assert empty == []


def test_nothing_names_a_folder_of_a_machine():
    found = [str(path) for path in tracked() if path != Path("LICENSE") and MACHINE.search(readable(path))]
    assert found == []


def readable(path):
    return (PROJECT / path).read_bytes().decode(errors="replace")
