CREATE TABLE IF NOT EXISTS positions (
    projection  text        NOT NULL,
    partition   integer     NOT NULL,
    position    bigint      NOT NULL DEFAULT 0,
    "offset"    bigint      NOT NULL DEFAULT -1,
    recorded_at timestamptz,
    moved_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, partition)
);
ALTER TABLE positions ADD COLUMN IF NOT EXISTS "offset" bigint NOT NULL DEFAULT -1;
CREATE UNLOGGED TABLE IF NOT EXISTS freshness (
    projection text        NOT NULL,
    partition  integer     NOT NULL,
    fresh_at   timestamptz NOT NULL,
    PRIMARY KEY (projection, partition)
);
CREATE TABLE IF NOT EXISTS tables (
    name    text  PRIMARY KEY,
    columns jsonb NOT NULL
);
