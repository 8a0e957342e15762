"""Looks for what would keep the system from starting, and names what mends it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.errors import InfraError, MissingTool
from infra.login import FILE as LOGIN
from infra.native import tools
from infra.native.ports import free
from infra.native.provider import Native

OLDEST_PYTHON = (3, 11)
GIB = 2**30
DISK_GIB, MEMORY_GIB = 2.0, 2.0
# What is for everybody to read beside the secrets; any other file there is for its owner only.
PUBLIC = frozenset({"ca.pem", "cert.pem", "signing.pub"})


@dataclass(frozen=True, slots=True)
class Finding:
    """`mend` is the command that helps, when something is wrong."""

    name: str
    well: bool
    found: str
    mend: str | None = None


def examine(system: Native) -> list[Finding]:
    """Everything that `up` needs, looked at without changing anything."""
    looks: tuple[Callable[[Native], Iterator[Finding]], ...] = (
        python,
        programs,
        disk,
        memory,
        half_written,
        ports,
        secrets,
        components,
    )
    return [finding for look in looks for finding in look(system)]


def python(_: Native) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", sys.version_info >= OLDEST_PYTHON, version, "install Python 3.11 or later")


def programs(system: Native) -> Iterator[Finding]:
    """Maven is needed only until all is fetched that is wanted today."""
    wanted: dict[str, Callable[[], object]] = {"java": tools.java, "platform": tools.machine}
    fetched = is_fetched(system.cache)
    if not fetched:
        wanted["mvn"] = tools.maven
    for name, find in wanted.items():
        try:
            yield Finding(name, True, str(find()))
        except InfraError as error:
            yield Finding(name, False, str(error), error.hint)
    if fetched:
        yield Finding("servers", True, f"fetched, in {system.cache}")


def is_fetched(cache: Path) -> bool:
    try:
        return all((place / "complete").exists() for place in (tools.servers_in(cache), tools.pages_in(cache)))
    except MissingTool:
        return False


def disk(system: Native) -> Iterator[Finding]:
    place = next(folder for folder in (system.folder, *system.folder.parents) if folder.exists())
    left = shutil.disk_usage(place).free / GIB
    yield Finding("disk", left >= DISK_GIB, f"{left:.1f} GiB free", f"free {DISK_GIB:.0f} GiB under {place}")


def memory(system: Native) -> Iterator[Finding]:
    """What runs already has its share."""
    if any(system.state.running(name) for name in system.components):
        return
    left = psutil.virtual_memory().available / GIB
    yield Finding("memory", left >= MEMORY_GIB, f"{left:.1f} GiB available", f"free {MEMORY_GIB:.0f} GiB of memory")


def half_written(system: Native) -> Iterator[Finding]:
    """Drafts are thrown away by the next `up`; what can't be read is for a person to decide."""
    file, home = system.state.file, system.folder / "postgres"
    if system.state.broken:
        yield Finding("state", False, f"{file} can't be read", f"rm {file}, then headrace up")
    else:
        yield Finding("state", True, str(file) if file.exists() else "none yet")
    if home.is_symlink() and not home.exists():
        yield Finding("postgres data", False, f"{home.readlink()} is gone", f"rm {home}, and start empty")
    for draft in (*system.folder.glob("*/*.draft"), *broken_fetches(system.cache)):
        yield Finding("half-written", False, f"{draft} was not finished", "headrace up, which begins it anew")


def broken_fetches(cache: Path) -> list[Path]:
    return [place for place in cache.glob("servers-*") if not (place / "complete").exists()]


def ports(system: Native) -> Iterator[Finding]:
    for name, port in sorted(system.state.ports.items()):
        if system.state.running(name.partition(".")[0]) is None and not free(port):
            yield Finding("port", False, f"{port} of {name} is taken", "headrace up, which chooses another")


def secrets(system: Native) -> Iterator[Finding]:
    held = (*system.credentials.glob("*/*"), *(system.folder / "keys").glob("*"), system.folder / LOGIN)
    readable = [file for file in held if file.is_file() and file.name not in PUBLIC and file.stat().st_mode & 0o077]
    for file in readable:
        yield Finding("secret", False, f"{file} can be read by others", f"chmod 600 {file}")
    if not readable:
        yield Finding("secrets", True, "for their owner only")


def components(system: Native) -> Iterator[Finding]:
    known = set(system.state.known())
    crashed = [name for name in system.components if name in known and system.state.running(name) is None]
    for name in crashed:
        yield Finding(name, False, "crashed; headrace status shows its last words", "headrace up")
