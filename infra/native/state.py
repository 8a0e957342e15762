"""What the native provider remembers between two commands: ports, and the processes that it started."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path
from threading import RLock
from typing import Any

import psutil

from infra.pki import write

TOLERANCE_SECONDS = 0.5


class State:
    """One JSON file. A process is known by its pid and its time of start, so that a recycled pid is not ours."""

    def __init__(self, folder: Path) -> None:
        self._file, self._lock = folder / "state.json", folder / "lock"
        self._writing = RLock()
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second command out until this one is through."""
        with self._lock.open("w") as lock:
            flock(lock, LOCK_EX)
            try:
                yield
            finally:
                flock(lock, LOCK_UN)

    def read(self) -> dict[str, Any]:
        try:
            kept: dict[str, Any] = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):
            return {"ports": {}, "processes": {}, "plan": None}
        return kept

    def put(self, section: str, name: str, value: object) -> None:
        with self._writing:
            kept = self.read()
            kept[section][name] = value
            write(self._file, json.dumps(kept, indent=1).encode(), 0o644)

    def forget(self, section: str, name: str) -> None:
        with self._writing:
            kept = self.read()
            kept[section].pop(name, None)
            write(self._file, json.dumps(kept, indent=1).encode(), 0o644)

    @property
    def provisioned(self) -> str | None:
        """The fingerprint of the plan that Kafka was last provisioned with."""
        fingerprint: str | None = self.read()["plan"]
        return fingerprint

    @provisioned.setter
    def provisioned(self, fingerprint: str) -> None:
        write(self._file, json.dumps({**self.read(), "plan": fingerprint}, indent=1).encode(), 0o644)

    def port(self, name: str) -> int:
        """The port of that name: the one it had, unless somebody else has taken it meanwhile."""
        with self._writing:
            return self._port(name)

    def _port(self, name: str) -> int:
        kept: int | None = self.read()["ports"].get(name)
        if kept is not None and (self.running(name.partition(".")[0]) or free(kept)):
            return kept
        chosen = any_free_port(set(self.read()["ports"].values()))
        self.put("ports", name, chosen)
        return chosen

    def started(self, name: str, pid: int) -> None:
        self.put("processes", name, [pid, psutil.Process(pid).create_time()])

    def running(self, name: str) -> psutil.Process | None:
        """The process that we started under that name, if it lives."""
        known = self.read()["processes"].get(name)
        if known is None:
            return None
        try:
            process = psutil.Process(known[0])
            ours = abs(process.create_time() - known[1]) < TOLERANCE_SECONDS
            return process if ours and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def known(self) -> list[str]:
        """Everything that was started and not stopped, in the order of its start."""
        return list(self.read()["processes"])


def free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def any_free_port(taken: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port
