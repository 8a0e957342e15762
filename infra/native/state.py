"""What the native provider remembers between two commands: ports, and the processes that it started."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, Field, ValidationError

from infra.native.ports import free, free_port
from infra.pki import write

LEFTOVER_SECONDS = 1.0
BOOT = Path("/proc/sys/kernel/random/boot_id")


class Kept(BaseModel):
    """What the file holds: a port by each name, and of each process its pid and birth."""

    ports: dict[str, int] = Field(default_factory=dict)
    processes: dict[str, tuple[int, str]] = Field(default_factory=dict)


class State:
    """One JSON file. A process is known by its pid and its birth, so that a recycled pid is not ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "state.json"

    @contextmanager
    def locked(self, name: str = "up") -> Iterator[None]:
        """Keeps others out of what has that name, in this process and in others, until this one is through."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".{name}.lock").open("w") as lock:
            flock(lock, LOCK_EX)
            yield

    def read(self) -> dict[str, Any]:
        """What is kept; nothing when the file is broken, which `doctor` names."""
        kept = Kept()
        with suppress(FileNotFoundError, ValidationError):
            kept = Kept.model_validate_json(self.file.read_bytes())
        return kept.model_dump()

    @property
    def broken(self) -> bool:
        """Whether there is a file that nothing can be made of."""
        try:
            Kept.model_validate_json(self.file.read_bytes())
        except FileNotFoundError:
            return False
        except ValidationError:
            return True
        return False

    @contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """What is kept, to be changed; nobody else changes it meanwhile."""
        with self.locked("state"):
            kept = self.read()
            yield kept
            write(self.file, json.dumps(kept, indent=1).encode())

    @property
    def ports(self) -> dict[str, int]:
        ports: dict[str, int] = self.read()["ports"]
        return ports

    def port(self, name: str) -> int:
        """The port of that name, chosen when there is none yet."""
        if (kept := self.ports.get(name)) is not None:
            return kept
        with self.changing() as state:
            chosen: int = state["ports"].setdefault(name, free_port(state["ports"].values()))
        return chosen

    def free_ports(self) -> list[str]:
        """Chooses new ports for what does not run and whose port somebody else has taken; their names."""
        running = {name for name in self.known() if self.running(name)}
        idle = {name: port for name, port in self.ports.items() if name.partition(".")[0] not in running}
        # What was killed a moment ago may still hold its port, though it counts as ended.
        deadline = time.monotonic() + LEFTOVER_SECONDS
        while (taken := [name for name, port in idle.items() if not free(port)]) and time.monotonic() < deadline:
            time.sleep(0.02)
        if taken:
            with self.changing() as state:
                for name in taken:
                    state["ports"][name] = free_port(state["ports"].values())
        return taken

    def started(self, name: str, pid: int) -> None:
        with self.changing() as state:
            state["processes"][name] = [pid, birth(pid)]

    def ended(self, name: str) -> None:
        with self.changing() as state:
            state["processes"].pop(name, None)

    def running(self, name: str) -> psutil.Process | None:
        """The process that we started under that name, if it lives."""
        known = self.read()["processes"].get(name)
        if known is None:
            return None
        try:
            process = psutil.Process(known[0])
            alive = process.status() != psutil.STATUS_ZOMBIE and birth(process.pid) == known[1]
        except (psutil.NoSuchProcess, FileNotFoundError):
            return None
        return process if alive else None

    def known(self) -> list[str]:
        """Everything that was started and not stopped, in the order of its start."""
        return list(self.read()["processes"])


def birth(pid: int) -> str:
    """When a process began, in a form that no change of the clock can change."""
    if BOOT.exists():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{BOOT.read_text().strip()} {fields[19]}"
    return str(psutil.Process(pid).create_time())
