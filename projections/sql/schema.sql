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
ALTER TABLE positions ADD COLUMN IF NOT EXISTS views text;
-- How often somebody else than the worker has changed rows.
CREATE TABLE IF NOT EXISTS touches (
    projection text   PRIMARY KEY,
    touched    bigint NOT NULL
);
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
-- A spot is a key of a view, or a whole stream of which a key can't be told; `view` is the name of the view's table.
CREATE TABLE IF NOT EXISTS parked (
    view      text        COLLATE "C" NOT NULL,
    name      text        COLLATE "C" NOT NULL,
    of_stream boolean     NOT NULL,
    position  bigint,
    stream    text,
    version   bigint,
    type      text,
    error     text,
    first_at  timestamptz NOT NULL DEFAULT now(),
    attempts  integer     NOT NULL,
    PRIMARY KEY (view, name, of_stream)
);
CREATE TABLE IF NOT EXISTS parked_events (
    view      text    COLLATE "C" NOT NULL,
    name      text    COLLATE "C" NOT NULL,
    of_stream boolean NOT NULL,
    position  bigint  NOT NULL,
    event     bytea   NOT NULL,
    PRIMARY KEY (view, name, of_stream, position),
    FOREIGN KEY (view, name, of_stream) REFERENCES parked ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS skips (
    number    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    view      text        COLLATE "C" NOT NULL,
    name      text        COLLATE "C" NOT NULL,
    of_stream boolean     NOT NULL,
    position  bigint      NOT NULL,
    event     bytea       NOT NULL,
    error     text        NOT NULL,
    who       text        NOT NULL,
    why       text        NOT NULL,
    at        timestamptz NOT NULL
);
-- Whose position it is: a record that only has the position of another's event must not take that one out.
ALTER TABLE parked_events ADD COLUMN IF NOT EXISTS stream text;
ALTER TABLE skips ADD COLUMN IF NOT EXISTS stream text;
-- Skips that were not published yet.
CREATE TABLE IF NOT EXISTS untold_skips (
    number bigint PRIMARY KEY REFERENCES skips
);
CREATE TABLE IF NOT EXISTS rebuilds (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text        NOT NULL,
    what       text        NOT NULL,
    changed    bigint      NOT NULL,
    read_to    bigint      NOT NULL,
    swapped_at timestamptz NOT NULL DEFAULT now()
);
-- A rebuild that goes on, or has failed: one that has ended well stands in `rebuilds`.
CREATE TABLE IF NOT EXISTS rebuilding (
    name     text        PRIMARY KEY,
    done     bigint      NOT NULL DEFAULT 0,
    total    bigint      NOT NULL DEFAULT 0,
    began_at timestamptz NOT NULL DEFAULT now(),
    told_at  timestamptz NOT NULL DEFAULT now(),
    error    text
);
CREATE TABLE IF NOT EXISTS republish (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text   NOT NULL,
    key  text   NOT NULL
);
-- Rows that were found to differ from a fold of the store made anew; `columns` names those that do.
CREATE TABLE IF NOT EXISTS drift (
    view     text        COLLATE "C" NOT NULL,
    key      text        COLLATE "C" NOT NULL,
    columns  text        NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now(),
    seen_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (view, key)
);
-- By which code the rows of a table are folded; '' where it was swapped since, so that nobody has looked.
CREATE TABLE IF NOT EXISTS folds (
    name text PRIMARY KEY,
    code text NOT NULL
);
