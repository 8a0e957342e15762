"""Every port that the system listens on, found out from outside: which TLS it speaks, and what it asks of a client."""

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.native.state import State

PATIENCE_SECONDS = 3.0
SSL_REQUEST = struct.pack("!II", 8, 80877103)
PLAIN_STARTUP = struct.pack("!II", 16, 196608) + b"user\x00x\x00\x00\x00"
HTTP = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
# ApiVersions, the first that any Kafka client says.
KAFKA = struct.pack("!IhhIh", 13, 18, 0, 1, 3) + b"who"
SAID = {"kafka": KAFKA, "postgres": PLAIN_STARTUP}
# What comes on top of, or in place of, a certificate; `listeners` itself finds out whether one is demanded.
LOGIN = {
    "kafka.api": "SCRAM-SHA-512",
    "postgres.api": "certificate and SCRAM-SHA-256",
    "gateway.api": "access token",
    "gateway.admin": "access token",
    "issuer.api": "client id and secret",
    "console.api": "login, code and PKCE",
}
PROBES_ONLY = "none, probes and metrics only"
ALERT = b"\x15\x03"


@dataclass(frozen=True, slots=True)
class Listener:
    """`tls` is the version that a modern client gets; `plaintext` is what became of an attempt without TLS."""

    owner: str
    serves: str
    port: int
    tls: str
    client_authentication: str
    plaintext: str


def listeners(state: State, ca_file: Path) -> list[Listener]:
    """Those of the components that run."""
    return [
        listener(name, port, ca_file)
        for name, port in sorted(state.ports.items())
        if state.running(name.partition(".")[0]) is not None
    ]


def listener(name: str, port: int, ca_file: Path) -> Listener:
    owner, _, serves = name.partition(".")
    version, certificate = secured(owner, port, ca_file)
    login = LOGIN.get(name, PROBES_ONLY if serves == "health" else "")
    if certificate and "certificate" not in login:
        login = " and ".join(filter(None, ("certificate", login)))
    return Listener(owner, serves, port, version, login or "none", plaintext(owner, port))


def secured(owner: str, port: int, ca_file: Path) -> tuple[str, bool]:
    """The TLS version, and whether a client without a certificate gets no answer at all."""
    context = ssl.create_default_context(cafile=str(ca_file))
    version = "none"
    try:
        with connected(port) as plain:
            if owner == "postgres":
                plain.sendall(SSL_REQUEST)
                plain.recv(1)
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                version = secure.version() or "none"
                secure.sendall(SAID.get(owner, HTTP))
                return version, not secure.recv(1)
    except OSError:
        return version, version != "none"


def plaintext(owner: str, port: int) -> str:
    """What an attempt without TLS gets: refused, unless the server answers in its own protocol."""
    try:
        with connected(port) as plain:
            plain.sendall(SAID.get(owner, HTTP))
            answer = plain.recv(512)
    except OSError:
        return "refused"
    if not answer or answer.startswith(ALERT) or (owner == "postgres" and answer.startswith(b"E")):
        return "refused"
    return "ANSWERED"


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as plain:
        yield plain
