"""PostgreSQL of the native provider: TLS 1.3 only, our certificates and SCRAM only, on loopback only."""

import os
import pwd
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from infra.errors import StartFailed
from infra.pki import write

SUPERUSER = "postgres"
UNPRIVILEGED = ("postgres", "nobody")
ELSEWHERE = Path("/var/lib/headrace")
LEFTOVER_SECONDS = 10.0

ACCESS = "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n"
CONFIGURATION = """listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
ssl = on
ssl_cert_file = 'cert.pem'
ssl_key_file = 'key.pem'
ssl_ca_file = 'ca.pem'
ssl_min_protocol_version = 'TLSv1.3'
password_encryption = 'scram-sha-256'
fsync = on
synchronous_commit = on
max_connections = 80
shared_buffers = '128MB'
timezone = 'UTC'
log_timezone = 'UTC'
# A statement may hold what the log must not.
log_min_error_statement = 'panic'
"""


class PostgresServer:
    """One server with its data in a folder."""

    def __init__(self, binaries: Path, home: Path, credentials: Path, port: int) -> None:
        self.home = settle(home)
        self._binaries, self._credentials, self._port = binaries, credentials, port

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def account(self) -> pwd.struct_passwd | None:
        """The user to run as: the server refuses to run as root."""
        return account(self.data)

    def prepare(self) -> None:
        """Makes the data folder when there is none, and writes today's configuration."""
        if not self.data.exists():
            self._initialise()
        for name in ("cert.pem", "key.pem", "ca.pem"):
            self._own(self.data / name, (self._credentials / name).read_bytes())
        self._own(self.data / "headrace.conf", CONFIGURATION.format(port=self._port).encode())
        self._own(self.data / "pg_hba.conf", ACCESS.encode())
        self._wait_for_orphans()

    def command(self) -> list[str]:
        return [str(self._program("postgres")), "-D", str(self.data)]

    def running_pid(self) -> int | None:
        """The server that runs on this data, whoever started it."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return None
        return pid if pid in {process.pid for process in at_work_in(self.data)} else None

    def _initialise(self) -> None:
        """Into a draft first, so that half a data folder is never taken for a whole one."""
        draft, secret = self.home / "data.draft", self.home / "secret.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        self._give(draft)
        self._own(secret, (self._credentials / "password").read_bytes())
        options = ["-U", SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-instructions"]
        call: list[str | Path] = [self._program("initdb"), "-D", draft, "--pwfile", secret, *options]
        try:
            done = run_as(self.account, call, self.home)
        finally:
            secret.unlink()
        if done.returncode != 0:
            raise StartFailed(f"initdb failed: {done.stderr[-1000:]}", "headrace doctor")
        with (draft / "postgresql.conf").open("a") as settings:
            settings.write("\ninclude 'headrace.conf'\n")
        draft.rename(self.data)

    def _program(self, name: str) -> Path:
        """As root, the programs must be where the server's user gets at them."""
        place = self._binaries
        if account(self.data) is not None and not enterable(place):
            place = self.home / f"server-{self._binaries.parent.name}"
            if not place.exists():
                draft = self.home / "server.draft"
                shutil.rmtree(draft, ignore_errors=True)
                shutil.copytree(self._binaries, draft, symlinks=True)
                draft.chmod(0o755)
                draft.rename(place)
        return place / "bin" / name

    def _wait_for_orphans(self) -> None:
        """After a `kill -9` the server's children live on for a moment; the next server must not meet them."""
        deadline = time.monotonic() + LEFTOVER_SECONDS
        lock = self.data / "postmaster.pid"
        while lock.exists() and (left := list(at_work_in(self.data))):
            if time.monotonic() > deadline:
                pids = " ".join(str(process.pid) for process in left)
                raise StartFailed(f"processes of an earlier PostgreSQL still use {self.data}", f"kill {pids}")
            time.sleep(0.05)
        if lock.exists() and is_zombie(lock.read_text().partition("\n")[0]):
            # The server takes a dead process that nobody has reaped for a living one, and would not start.
            lock.unlink()

    def _own(self, file: Path, content: bytes) -> None:
        write(file, content)
        self._give(file)

    def _give(self, path: Path) -> None:
        if (user := self.account) is not None:
            os.chown(path, user.pw_uid, user.pw_gid)


def account(data: Path) -> pwd.struct_passwd | None:
    """Who runs the server when we are root: the owner of its data, or the first unprivileged user that exists."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat().st_uid) != 0:
        return pwd.getpwuid(owner)
    known = {user.pw_name: user for user in pwd.getpwall()}
    return next(known[name] for name in UNPRIVILEGED if name in known)


def run_as(user: pwd.struct_passwd | None, call: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        call,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
    )


def settle(home: Path) -> Path:
    """Where the server lives: `home`, or a folder that its user can enter, to which `home` then is a link."""
    if home.is_symlink() and not home.exists():
        raise StartFailed(f"PostgreSQL's data was in {home.readlink()}, which is gone", f"rm {home}, and start empty")
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0 or enterable(home.parent):
            home.mkdir(mode=0o711)
        else:
            ELSEWHERE.mkdir(mode=0o711, exist_ok=True)
            place = ELSEWHERE / secrets.token_hex(8)
            place.mkdir()
            place.chmod(0o711)
            home.symlink_to(place)
    return home.resolve()


def enterable(folder: Path) -> bool:
    """Whether another user can get into a folder."""
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))


def is_zombie(pid: str) -> bool:
    try:
        return bool(psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE)
    except (psutil.NoSuchProcess, ValueError):
        return False


def at_work_in(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder):
                yield process
        except psutil.Error:
            continue
