"""What operators do with the views of a domain over HTTP: the verbs that there are, and who carries them out. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

REBUILD = "rebuild"
PROJECTIONS = "projections"
STORABLE = r"^[^\x00]*$"


class Rebuilding(BaseModel):
    """A view is folded anew from the event store beside the live one, and swapped."""

    model_config = ConfigDict(extra="forbid")


class Retrying(BaseModel):
    """The events that wait at a key, or at a stream, are folded in order, with the code that runs now."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=STORABLE)]
    of_stream: bool = False


class Skipping(Retrying):
    """The event that fails is left out of a view for good, recorded with who says so and why; the rest is folded.

    With its `position` no other is left out that fails meanwhile.
    """

    position: Annotated[int, Field(ge=1)] | None = None
    why: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=500, pattern=STORABLE)]


class EventSkipped(BaseModel):
    """An event was left out of a view for good: which, what had failed, who says so, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    occurred_at: datetime
    view: str
    view_version: int
    key: str
    of_stream: bool
    position: int
    stream: str
    version: int
    type: str
    error: str
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class Verb:
    """The body that it takes, and the side of the domain that has the rights for it."""

    body: type[BaseModel]
    side: Literal["read", "rebuild"]


VERBS: Mapping[str, Verb] = {
    "retry": Verb(Retrying, "read"),
    "skip": Verb(Skipping, "read"),
    "rebuild": Verb(Rebuilding, "rebuild"),
}
EVENT_SKIPPED = "{}.EventSkipped.v1"
# Whose certificate a side shows.
CERTIFICATES = {"write": "{}-write", "read": "{}-read", "rebuild": "{}-migrate"}


def address(domain: str, version: int, view: str, verb: str) -> str:
    """Where a verb of a view is asked for, at the gateway's port for operators and at the service alike."""
    return f"/v{version}/{domain}/{PROJECTIONS}/{view}/{verb}"
