"""What can go wrong on the floor.

InfraError               base class; `hint` is the command or change that mends it
├── SettingsError        a setting is missing, unknown or unsafe; the message names it
├── MissingTool          a program that must be on the machine is not
├── StartFailed          a component did not become ready; the message ends with its last log lines
├── NotRunning           a component that is needed is down
├── IssuerUnavailable    the issuer of tokens does not answer, so that none can be judged
├── TokenRefused         a token is not acceptable; the message says why without showing it
├── NoteRefused          a note is not signed by whom we trust, or is no note
└── NotPublished         Kafka refused a record or can't be reached; whether it took the others is not known
"""


class InfraError(Exception):
    """An error of the infrastructure; `hint` says what mends it."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class SettingsError(InfraError):
    """A setting is missing, unknown or unsafe."""


class MissingTool(InfraError):
    """A program that must be on the machine is not."""


class StartFailed(InfraError):
    """A component did not become ready."""


class NotRunning(InfraError):
    """A component that is needed is down."""


class IssuerUnavailable(InfraError):
    """The issuer of tokens does not answer."""


class TokenRefused(InfraError):
    """A token is not acceptable."""


class NoteRefused(InfraError):
    """A note is not signed by whom we trust, or is no note."""


class NotPublished(InfraError):
    """Kafka has refused a record, or can't be reached. Whether it took the others is not known."""
