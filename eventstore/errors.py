"""What can go wrong in a store.

EventStoreError
├── InvalidEvent              what was handed in can't be recorded: the sentence says what and the limit
├── WrongExpectedVersion      the stream stands elsewhere
├── ConditionFailed           the log holds an event that a decision rested upon not being there
├── IdempotencyConflict       the key was used for another command
├── TrackedBefore             the position of another application's log was tracked before
├── StoreBusy                 the queue is full; nothing was written
├── StoreUnavailable          the database can't be reached; nothing was written
├── OutcomeUnknown            the connection broke at the commit and the outcome could not be found out
├── EventsDetached            events that are asked for were taken out of the database
├── RangeRefused              a range of the log can't be detached or attached; the sentence says why
├── LogBroken                 a position is missing from the log
├── TopicUnavailable          records could not be published, or what the topic holds could not be found out
├── SealedElsewhere           another sealer has sealed these positions
├── WitnessUnavailable        a checkpoint could not be kept outside the database, or what is kept not be read
├── NotSealed                 the event is not sealed yet
├── EvidenceBroken            the log, its seals and its checkpoints do not fit together; the sentence says where
├── KeyMissing                a key that seals or wraps is not there, and was not destroyed
├── SealBroken                a sealed text, or a wrapped key, was changed or moved
├── SchemaMismatch            the database's schema is not the one that this code knows
├── ImportRefused             what was handed in is no whole log, or the store is not empty; nothing was written
└── RecordError               a record on a topic is not one of our events
"""


class EventStoreError(Exception):
    """An error of the event store."""


class InvalidEvent(EventStoreError):
    """What was handed in can't be recorded."""


class WrongExpectedVersion(EventStoreError):
    """The stream is not where the command expected it."""

    def __init__(self, stream: str, expected: object, actual: int) -> None:
        super().__init__(f"stream {stream!r} is at version {actual}, expected {expected}")
        self.stream, self.expected, self.actual = stream, expected, actual


class ConditionFailed(EventStoreError):
    """The log holds an event that a decision rested upon not being there."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the decision rests upon an older log: the event at position {position} is new to it")
        self.position = position


class IdempotencyConflict(EventStoreError):
    """The idempotency key was used before, for another command."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the idempotency key {key!r} was used for another command")
        self.key = key


class TrackedBefore(EventStoreError):
    """This position of another application's log, or a later one, was tracked before."""

    def __init__(self, application: str, position: int) -> None:
        super().__init__(f"position {position} of {application!r} was tracked before")
        self.application, self.position = application, position


class StoreBusy(EventStoreError):
    """The queue of appends is full; nothing was written."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the store is busy, retry after {retry_after:.1f} s")
        self.retry_after = retry_after


class StoreUnavailable(EventStoreError):
    """The database can't be reached; nothing was written."""


class OutcomeUnknown(EventStoreError):
    """The connection broke at the commit; repeat with the same idempotency key to learn the outcome."""


class EventsDetached(EventStoreError):
    """Events that are asked for were taken out of the database, into a file."""


class RangeRefused(EventStoreError):
    """A range of the log can't be detached or attached; everything is as it was."""


class LogBroken(EventStoreError):
    """A position is missing from the log."""


class TopicUnavailable(EventStoreError):
    """Records could not be published, or what the topic holds could not be found out."""


class SealedElsewhere(EventStoreError):
    """Another sealer has sealed these positions."""


class WitnessUnavailable(EventStoreError):
    """A checkpoint could not be kept outside the database, or what is kept there could not be read."""


class NotSealed(EventStoreError):
    """The event at this position is not sealed yet, or there is none."""

    def __init__(self, position: int, sealed: int) -> None:
        super().__init__(f"position {position} is not sealed yet: the seals end at {sealed}")
        self.position, self.sealed = position, sealed


class EvidenceBroken(EventStoreError):
    """The log, its seals and its checkpoints do not fit together."""


class KeyMissing(EventStoreError):
    """A key that seals or wraps is not there, and was not destroyed."""


class SealBroken(EventStoreError):
    """A sealed text, or a wrapped key, was changed or moved."""


class SchemaMismatch(EventStoreError):
    """The database's schema is not the one that this code knows."""


class ImportRefused(EventStoreError):
    """What was handed in is no whole log, or the store is not empty; nothing was written."""


class RecordError(EventStoreError):
    """A record on a topic is not one of our events; the message says why."""
