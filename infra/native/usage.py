"""What the running components use of the machine: processor time and memory, each with its children."""

from collections.abc import Iterator, Mapping

import psutil

from infra.native.state import State


def processor_seconds(state: State) -> dict[str, float]:
    """Processor seconds, user and system, that each running component has used since it started."""
    return {name: sum(map(seconds_of, family)) for name, family in families(state)}


def resident_bytes(state: State) -> dict[str, int]:
    """Memory of each running component; what several processes share is counted once where the system tells it."""
    return {name: sum(map(resident_of, family)) for name, family in families(state)}


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What was used between two looks; a component that began anew meanwhile counts from its start."""
    return {
        name: used - before.get(name, 0.0) if used >= before.get(name, 0.0) else used for name, used in after.items()
    }


def families(state: State) -> Iterator[tuple[str, list[psutil.Process]]]:
    for name in state.known():
        process = state.running(name)
        if process is not None:
            try:
                yield name, [process, *process.children(recursive=True)]
            except psutil.Error:
                continue


def seconds_of(process: psutil.Process) -> float:
    """With those of its children that have ended."""
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.Error:
        return 0.0


def resident_of(process: psutil.Process) -> int:
    try:
        whole = process.memory_full_info()
        return int(getattr(whole, "pss", whole.rss))
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
