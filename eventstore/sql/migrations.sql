CREATE TABLE IF NOT EXISTS migrations (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    digest     bytea       NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
