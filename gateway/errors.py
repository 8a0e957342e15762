"""What can go wrong between the gateway and a service.

UpstreamError
├── Unreachable      no connection could be made; nothing was sent
├── Busy             all connections are in use; nothing was sent
├── BrokenOff        the connection ended before the answer did; the service may or may not have acted
├── TooSlow          no answer in time; the service may or may not have acted
└── BadAnswer        what came back is not an answer that can be passed on
"""


class UpstreamError(Exception):
    """An error between the gateway and a service."""


class Unreachable(UpstreamError):
    """No connection could be made."""


class Busy(UpstreamError):
    """All connections are in use."""


class BrokenOff(UpstreamError):
    """The connection ended before the answer did."""


class TooSlow(UpstreamError):
    """No answer in time."""


class BadAnswer(UpstreamError):
    """What came back cannot be passed on."""
