"""Starts, watches and ends the processes of one system."""

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from infra.errors import NotRunning, StartFailed
from infra.native.state import State

START_SECONDS = 90.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.05
LOG_LINES = 12
LARGEST_LOG = 10 * 1024 * 1024
# By this each process can be found again; no setting of ours is called so.
MARK = "SUPERVISED_AS"


class Supervisor:
    """Every process runs in a session of its own and outlives the command that started it."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def log_file(self, name: str) -> Path:
        return self._state.folder / "logs" / f"{name}.log"

    def tail(self, name: str) -> list[str]:
        """The last lines that a component wrote."""
        if not self.log_file(name).exists():
            return []
        with self.log_file(name).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 8192))
            return log.read().decode(errors="replace").splitlines()[-LOG_LINES:]

    def spawn(
        self, name: str, call: Sequence[str], env: Mapping[str, str], user: pwd.struct_passwd | None = None
    ) -> None:
        self._reap(name)
        log = self.log_file(name)
        log.parent.mkdir(exist_ok=True, mode=0o700)
        if log.exists() and log.stat().st_size > LARGEST_LOG:
            log.replace(log.with_suffix(".log.1"))
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as out:
            child = subprocess.Popen(  # noqa: S603
                call,
                env={**env, MARK: f"{name}:{self._state.folder}"},
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd="/" if user else self._state.folder,
            )
        self._children[name] = child
        self._state.started(name, child.pid)

    def wait_until_ready(self, name: str, reason: Callable[[], str | None], seconds: float = START_SECONDS) -> None:
        """Returns when `reason` gives none any more. Raises `StartFailed` with the last log lines."""
        deadline = time.monotonic() + seconds
        while (waits_for := reason()) is not None:
            if self._state.running(name) is None:
                raise StartFailed(f"{name} ended while it started:\n{self._tail_text(name)}", "headrace doctor")
            if time.monotonic() > deadline:
                raise StartFailed(f"{name} is not ready: {waits_for}\n{self._tail_text(name)}", "headrace doctor")
            time.sleep(POLL_SECONDS)

    def stop(self, names: Iterable[str]) -> None:
        """Politely first, within a bound; then by force. What has crashed counts as stopped from then on."""
        wanted = set(names)
        running = {name: process for name in wanted if (process := self._state.running(name))}
        for name, process in running.items():
            ask_to_end(name, process)
        for name in self._still_running(running):
            kill_family(running[name])
        stubborn = self._still_running(running)
        for name in wanted - stubborn:
            self._reap(name)
            self._state.ended(name)
        if stubborn:
            raise StartFailed(f"{', '.join(sorted(stubborn))} could not be ended")

    def end_forgotten(self, last: Collection[str] = ()) -> list[str]:
        """Ends what was started here and is not known, what the others need `last`; the names.

        Either an `up` was killed before it had written down what it started, or what was written down is lost.
        """
        left = self._forgotten()
        for of_the_last in (False, True):
            asked = [process for process, name in left.items() if (name in last) is of_the_last]
            for process in asked:
                ask_to_end(left[process], process)
            for process in psutil.wait_procs(asked, STOP_SECONDS)[1]:
                kill_family(process)
        return sorted(left.values())

    def _forgotten(self) -> dict[psutil.Process, str]:
        known = {process.pid for name in self._state.known() if (process := self._state.running(name))}
        marked = {process: name for process in psutil.process_iter(["environ"]) if (name := self._name_of(process))}
        pids = {process.pid for process in marked}
        found = dict[psutil.Process, str]()
        for process, name in marked.items():
            # Whatever these have started has the mark as well, and ends with them.
            with suppress(psutil.NoSuchProcess):
                if process.pid not in known and process.ppid() not in pids:
                    found[process] = name
        return found

    def _name_of(self, process: psutil.Process) -> str | None:
        """The name under which a process was started here; None: it was not."""
        name, _, folder = (process.info["environ"] or {}).get(MARK, "").partition(":")
        return name if folder == str(self._state.folder) else None

    def kill(self, name: str) -> None:
        """Ends one component at once, as a crash would (`kill -9`), children included."""
        process = self._state.running(name)
        if process is None:
            raise NotRunning(f"{name} does not run")
        kill_family(process)
        self._still_running([name])
        self._reap(name)

    def _still_running(self, names: Iterable[str]) -> set[str]:
        """Which of them live on after a while. A process that nobody reaps counts as ended."""
        left, deadline = set(names), time.monotonic() + STOP_SECONDS
        while left and time.monotonic() < deadline:
            left = {name for name in left if self._state.running(name)}
            time.sleep(POLL_SECONDS if left else 0)
        return left

    def _reap(self, name: str) -> None:
        """Takes leave of a child of ours that has ended."""
        if (child := self._children.pop(name, None)) is not None:
            child.wait(STOP_SECONDS)

    def _tail_text(self, name: str) -> str:
        return "\n".join(self.tail(name))


def ask_to_end(name: str, process: psutil.Process) -> None:
    """PostgreSQL waits for its clients on SIGTERM; SIGINT ends them and is as safe."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)


def kill_family(process: psutil.Process) -> None:
    """Returns when all of them are gone, and with them their connections; the parent first, lest it starts others."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    deadline = time.monotonic() + STOP_SECONDS
    while any(lives(member) for member in family) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS / 10)


def lives(process: psutil.Process) -> bool:
    """A process that nobody reaps counts as ended."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
