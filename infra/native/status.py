"""What one sees of a component."""

from dataclasses import asdict, dataclass

RUNNING, WAITING, CRASHED, STOPPED = "running", "waiting", "crashed", "stopped"


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """`state` is running, waiting (alive but not ready), crashed or stopped; `waits_for` is what it lacks."""

    name: str
    state: str
    pid: int | None
    port: int | None
    health_port: int | None
    waits_for: str | None
    log_tail: list[str]

    def told(self) -> dict[str, object]:
        return asdict(self)
