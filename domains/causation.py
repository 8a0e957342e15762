"""What an event's `causation_id` says of the command that it came of: `place/<id of the message that brought it>`."""

from domains.kernel import Domain
from eventstore.limits import FIELD_LENGTH
from eventstore.records import Metadata


def causation_id(command: str, message: str | None) -> str:
    """Never longer than what is accepted: a command is not refused for what it was called."""
    return (f"{command}/{message}" if message else command)[:FIELD_LENGTH]


def command_of(domain: Domain, metadata: Metadata) -> str | None:
    """The command that an event came of; None for what was recorded before this was kept, and for others' events."""
    name = (metadata.causation_id or "").partition("/")[0]
    return name if name in domain.commands else None
