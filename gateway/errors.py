"""What can go wrong between the gateway and a service.

UpstreamError
├── Unreachable      no connection could be made; nothing was sent
├── SetAside         it has failed again and again, and is left in peace for a while; nothing was sent
├── Busy             all connections are in use; nothing was sent
├── BrokenOff        the connection ended before the answer did; the service may or may not have acted
├── TooSlow          no answer in time; the service may or may not have acted
└── BadAnswer        what came back is not an answer that can be passed on
"""


class UpstreamError(Exception):
    """An error between the gateway and a service."""


class Unreachable(UpstreamError):
    """No connection could be made."""


class SetAside(UpstreamError):
    """It has failed again and again; it is asked again after some seconds."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class Busy(UpstreamError):
    """All connections are in use."""


class BrokenOff(UpstreamError):
    """The connection ended before the answer did; `pooled` if it had been used before."""

    pooled = False


class TooSlow(UpstreamError):
    """No answer in time."""


class BadAnswer(UpstreamError):
    """What came back cannot be passed on."""
