"""What can go wrong in a domain.

DomainError
├── Refused          the business says no: a code that never changes, and a sentence
├── UnknownCommand   the domain has no command of that name
├── NotYours         the aggregate is somebody else's
├── InvalidCommand   the body is not what the command asks for; `faults` says field by field why
├── UnreadableEvent  a recorded event is of a type or shape that this code does not know
├── Raced            another writer was faster, and nobody demanded a version: decide again
├── StrangeCommand   a record on the commands topic that is no command which was accepted here
└── NotADomain       a folder or entry point of `headrace.domains` that declares no valid domain
"""

from collections.abc import Sequence


class DomainError(Exception):
    """An error of a domain."""


class Refused(DomainError):
    """The business says no."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


class UnknownCommand(DomainError):
    """The domain has no command of that name."""

    def __init__(self, domain: str, command: str) -> None:
        super().__init__(f"{domain} knows no command {command[:64]!r}")


class NotYours(DomainError):
    """The aggregate is somebody else's, or nobody's, and the caller is bound to his own."""


class InvalidCommand(DomainError):
    """The body is not what the command asks for."""

    def __init__(self, faults: Sequence[dict[str, str]]) -> None:
        super().__init__("; ".join(f"{fault['field']}: {fault['detail']}" for fault in faults))
        self.faults = faults


class UnreadableEvent(DomainError):
    """A recorded event is of a type or shape that this code does not know."""

    def __init__(self, stream: str, version: int, why: str) -> None:
        super().__init__(f"event {version} of stream {stream!r} can't be read: {why}")
        self.stream, self.version = stream, version


class Raced(DomainError):
    """Another writer was faster, and nobody demanded a version."""


class StrangeCommand(DomainError):
    """A record on the commands topic is no command which was accepted here."""


class NotADomain(DomainError):
    """A folder or entry point does not declare a valid domain."""
