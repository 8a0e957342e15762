"""What can go wrong in a domain.

DomainError
├── Refused          the business says no: a code that never changes, and a sentence
└── NotADomain       a folder or entry point of `headrace.domains` that declares no valid domain
"""


class DomainError(Exception):
    """An error of a domain."""


class Refused(DomainError):
    """The business says no."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


class NotADomain(DomainError):
    """A folder or entry point does not declare a valid domain."""
