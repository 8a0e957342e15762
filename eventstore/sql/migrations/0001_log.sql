-- The log. Positions count 1, 2, 3 … in commit order; versions count in each stream.
CREATE TABLE events (
    position    bigint      PRIMARY KEY CHECK (position > 0),
    version     bigint      NOT NULL CHECK (version >= 0),
    time        timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    id          uuid        NOT NULL,
    stream      text        COLLATE "C" NOT NULL,
    type        text        COLLATE "C" NOT NULL,
    data        bytea       NOT NULL,
    metadata    bytea       NOT NULL,
    CONSTRAINT events_stream_version UNIQUE (stream, version)
);

-- Events are only ever added: dead rows can't come from updates, so vacuum has to look for new ones only.
ALTER TABLE events SET (autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.05);

-- The head of the log: one row. Who holds its lock is the only one who appends.
CREATE TABLE head (
    single      boolean     PRIMARY KEY DEFAULT true CHECK (single),
    position    bigint      NOT NULL CHECK (position >= 0),
    recorded_at timestamptz NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
INSERT INTO head (position, recorded_at) VALUES (0, '-infinity');

-- Where each stream stands, so that a conflict is an answer and not an error that fails its neighbours.
CREATE TABLE streams (
    stream   text   COLLATE "C" PRIMARY KEY,
    version  bigint NOT NULL,
    position bigint NOT NULL
) WITH (fillfactor = 80);

-- What was answered to each idempotency key, recorded in the transaction of its events.
CREATE TABLE idempotency (
    key         text        COLLATE "C" PRIMARY KEY,
    fingerprint bytea       NOT NULL,
    stream      text        COLLATE "C" NOT NULL,
    version     bigint      NOT NULL,
    position    bigint      NOT NULL,
    recorded_at timestamptz NOT NULL
);

-- How far an application has processed another one's log, recorded in the transaction of its own events.
CREATE TABLE tracking (
    application text   COLLATE "C" PRIMARY KEY,
    position    bigint NOT NULL
);

-- Folded states of streams. Never needed for correctness; may be deleted at any time.
CREATE TABLE snapshots (
    stream      text        COLLATE "C" NOT NULL,
    version     bigint      NOT NULL,
    type        text        COLLATE "C" NOT NULL,
    data        bytea       NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, version)
);
