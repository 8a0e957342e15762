"""Ports of the loopback address that nobody has, nor is about to have."""

import random
import socket
from collections.abc import Iterable

from infra.errors import StartFailed

# Below the range from which systems take ports for outgoing connections, so that none of those is in our way.
PORTS = range(20000, 32768)


def free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(taken: Iterable[int] = ()) -> int:
    """
    A port that nobody listens on, none of `taken`, and given to nobody else, here or in another process.

    Whoever listens on it does so later. What keeps it for them is the UDP port of the same number, until this process
    ends. Raises `StartFailed` when there is none.
    """
    kept = set(taken)
    candidates = (random.choice(PORTS) for _ in range(10 * len(PORTS)))  # noqa: S311  # a port is no secret
    for port in candidates:
        if port not in kept and free(port) and reserve(port):
            return port
    raise StartFailed(f"no port from {PORTS[0]} to {PORTS[-1]} is free")


def reserve(port: int) -> bool:
    holder = socket.socket(type=socket.SOCK_DGRAM)
    try:
        holder.bind(("127.0.0.1", port))
    except OSError:
        holder.close()
        return False
    holder.detach()
    return True
