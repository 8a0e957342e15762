"""The floor's servers in containers: the images of `docker-compose.yml`, run by testcontainers."""

import gc
import os
import warnings
from contextlib import closing
from pathlib import Path

import docker
import yaml
from docker.errors import DockerException
from testcontainers.core.container import DockerContainer

from infra.native.supervisor import Supervisor

COMPOSE = Path(__file__).parents[1] / "docker-compose.yml"
LIBRARIES = "/opt/kafka/libs/*"
NATIVE_ONLY = ("-Xshare", "-XX:SharedArchiveFile", "-XX:ArchiveClassesAtExit")


def engine_answers() -> bool:
    """Whether a Docker engine answers; `HEADRACE_TEST_FLOOR=native` keeps the tests from asking."""
    if os.environ.get("HEADRACE_TEST_FLOOR") == "native":
        return False
    with warnings.catch_warnings():
        # Asking in vain leaves a socket to the collector.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            with closing(docker.from_env(timeout=5)) as engine:
                return bool(engine.ping())
        except DockerException:
            return False
        finally:
            gc.collect()


class ContainerSupervisor(Supervisor):
    """Starts PostgreSQL and Kafka in containers that share this machine's network and the floor's folder.

    What a container runs is a process of this machine, so it is watched, stopped and killed like any other.
    """

    def __init__(self, state):
        super().__init__(state)
        self._containers = {}

    def spawn(self, name, call, env, user=None):
        self._remove(name)
        image = yaml.safe_load(COMPOSE.read_text())["services"][name]["image"]
        program, *arguments = [part for part in call if not part.startswith(NATIVE_ONLY)]
        owner = (user.pw_uid, user.pw_gid) if user else (os.getuid(), os.getgid())
        container = DockerContainer(image).with_command(arguments)
        place = {"network_mode": "host", "shm_size": "128m", "user": f"{owner[0]}:{owner[1]}"}
        container.with_kwargs(entrypoint=[Path(program).name], **place)
        for folder in {self._state.folder, (self._state.folder / name).resolve()}:
            container.with_volume_mapping(folder, str(folder), "rw")
        if "CLASSPATH" in env:
            container.with_env("CLASSPATH", LIBRARIES)
        self._containers[name] = container.start()
        wrapped = container.get_wrapped_container()
        wrapped.reload()
        self._state.started(name, wrapped.attrs["State"]["Pid"])

    def tail(self, name):
        if name not in self._containers:
            return []
        out, err = self._containers[name].get_logs()
        return (out + err).decode(errors="replace").splitlines()[-12:]

    def stop(self, names):
        names = list(names)
        super().stop(names)
        for name in names:
            self._remove(name)

    def _remove(self, name):
        if (container := self._containers.pop(name, None)) is not None:
            container.stop()
