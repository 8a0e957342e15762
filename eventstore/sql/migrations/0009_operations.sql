-- Commands that are answered later: accepted, then answered once.
CREATE TABLE operations (
    id          text        PRIMARY KEY,
    owner       text        NOT NULL,
    fingerprint bytea       NOT NULL,
    answer      bytea,
    accepted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX operations_accepted_at ON operations USING brin (accepted_at) WITH (pages_per_range = 32, autosummarize = on);
