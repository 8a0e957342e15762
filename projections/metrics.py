"""What the read side tells of itself: every name that it exports.

The rate is the one at which `headrace_projection_events_total` rises.
"""

from prometheus_client import Counter, Gauge, Histogram

SIZES = (1, 3, 10, 30, 100, 300, 1000, 3000)
SHORT = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)

EVENTS = Counter("headrace_projection_events", "Events folded", ["domain"])
DEAD = Counter("headrace_projection_dead_letters", "Records set aside as none of our events", ["domain"])
POSITION = Gauge("headrace_projection_position", "Position of a partition", ["domain", "partition"])
BEHIND_EVENTS = Gauge("headrace_projection_behind_events", "Records that wait in the topic", ["domain", "partition"])
BEHIND_SECONDS = Gauge("headrace_projection_behind_seconds", "Seconds that the views may lack", ["domain", "partition"])
BATCH_EVENTS = Histogram("headrace_projection_batch_events", "Events of a batch", ["domain"], buckets=SIZES)
BATCH_SECONDS = Histogram("headrace_projection_batch_seconds", "Time of a batch", ["domain"], buckets=SHORT)
COMMIT_SECONDS = Histogram(
    "headrace_projection_commit_seconds", "Time to fold a batch and commit it", ["domain"], buckets=SHORT
)
PARKED_KEYS = Gauge("headrace_projection_parked_keys", "Keys, and streams, that are parked", ["domain"])
DRIFT_ROWS = Gauge("headrace_projection_drift_rows", "Rows that differ from a fold made anew", ["domain", "view"])
REBUILD_PROGRESS = Gauge(
    "headrace_projection_rebuild_progress", "The part of a rebuild that is done, from 0 to 1", ["domain", "view"]
)
