-- The keys that wrap data keys, by name only: they lie in a file outside of this database.
CREATE TABLE IF NOT EXISTS wrapping_keys (
    id      uuid        PRIMARY KEY,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- A data key of a subject, or its tombstone. It is wrapped by a key that is there, or was destroyed.
CREATE TABLE IF NOT EXISTS data_keys (
    id           uuid        PRIMARY KEY,
    subject      text        COLLATE "C" NOT NULL,
    made_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    wrapped_by   uuid        REFERENCES wrapping_keys,
    wrapped      bytea,
    forgotten_at timestamptz,
    forgotten_by text,
    why          text,
    destroyed_at timestamptz,
    searched     jsonb,
    CHECK ((destroyed_at IS NULL) = (wrapped IS NOT NULL) AND (destroyed_at IS NULL) = (wrapped_by IS NOT NULL)),
    CHECK (destroyed_at IS NULL OR forgotten_at IS NOT NULL)
);
CREATE UNIQUE INDEX IF NOT EXISTS data_keys_current ON data_keys (subject) WHERE forgotten_at IS NULL;
CREATE INDEX IF NOT EXISTS data_keys_subject ON data_keys (subject);
CREATE INDEX IF NOT EXISTS data_keys_wrapped_by ON data_keys (wrapped_by);
