"""What a person took out of a view, as an event."""

from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from domains.admin import EVENT_SKIPPED, EventSkipped
from domains.kernel import Domain
from eventstore.cloudevents import structured
from eventstore.records import Metadata, RecordedEvent


def told(domain: Domain, row: Mapping[str, Any]) -> RecordedEvent:
    """The event of a row of `skips`, the same each time: its position is the row's number."""
    view, _, version = row["view"].rpartition("_v")
    skipped = structured(row["event"])
    fact = EventSkipped(
        occurred_at=row["at"],
        view=view.replace("_", "-"),
        view_version=int(version),
        key=row["name"],
        of_stream=row["of_stream"],
        position=skipped.position,
        stream=skipped.stream,
        version=skipped.version,
        type=skipped.type,
        error=row["error"],
        who=row["who"],
        why=row["why"],
    )
    return RecordedEvent(
        position=row["number"],
        stream=skipped.stream,
        version=skipped.version,
        id=uuid5(NAMESPACE_URL, f"headrace:{domain.skips_topic}/{row['number']}/{row['at'].isoformat()}"),
        type=EVENT_SKIPPED.format(domain.name),
        time=row["at"],
        recorded_at=row["at"],
        data=fact.model_dump_json().encode(),
        metadata=Metadata(actor=row["who"], causation_id=str(skipped.id)),
    )
