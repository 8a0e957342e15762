"""Servers for the time of a measurement."""

from collections.abc import Iterator
from contextlib import contextmanager

from infra.native import Native


@contextmanager
def running(system: Native, *names: str) -> Iterator[None]:
    """Starts these components, and afterwards stops those that did not run before; also when one can't be started."""
    stopped = {name for name in names if system.state.running(name) is None}
    try:
        system.up(only=names)
        yield
    finally:
        system.down(only=stopped)
