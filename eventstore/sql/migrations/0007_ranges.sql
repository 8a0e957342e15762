-- The log lies in ranges of positions, each a partition with indexes of its own: what an append touches stays as small
-- as the newest range, and an old range can be taken out of the database whole.
ALTER TABLE head ADD COLUMN range_size bigint NOT NULL DEFAULT 5000000 CHECK (range_size > 0);
UPDATE head SET range_size = coalesce(nullif(current_setting('headrace.range_size', true), '')::bigint, range_size);

-- Each range that there ever was. One that is detached names the file that holds it, and the file's SHA-256.
CREATE TABLE ranges (
    first  bigint PRIMARY KEY CHECK (first > 0),
    last   bigint NOT NULL CHECK (last >= first),
    file   text   COLLATE "C",
    digest bytea,
    CHECK ((file IS NULL) = (digest IS NULL))
);

-- The last event of each stream in a detached range: whoever needs events up to there is told so.
CREATE TABLE detached (
    stream   text   COLLATE "C" NOT NULL,
    version  bigint NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (stream, version)
);

-- For statements that would otherwise answer as if detached events had never been.
CREATE FUNCTION refuse_detached(last bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the events up to position % are detached', last USING ERRCODE = 'HR002';
END
$$;

ALTER TABLE events RENAME TO events_1;
ALTER INDEX events_pkey RENAME TO events_1_pkey;
ALTER INDEX events_stream_version RENAME TO events_1_stream_version;
ALTER INDEX events_correlation RENAME TO events_1_correlation;
ALTER INDEX events_tags RENAME TO events_1_tags;

CREATE TABLE events (LIKE events_1 INCLUDING CONSTRAINTS, PRIMARY KEY (position)) PARTITION BY RANGE (position);
CREATE INDEX events_correlation ON events USING brin (correlation_id(metadata) text_bloom_ops)
  WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX events_tags ON events USING gin (tags(metadata)) WHERE position('"tags"'::bytea IN metadata) > 0;

-- A version is unique in each range, and in the log because `streams` says where the next one stands.
CREATE FUNCTION make_range(place name, first bigint) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format(
        'CREATE TABLE %1$I.events_%2$s (LIKE %1$I.events INCLUDING CONSTRAINTS,
                                        CONSTRAINT events_%2$s_stream_version UNIQUE (stream, version))
           WITH (autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.05)', place, first);
END
$$;

-- Adds ranges until there is room up to a position.
CREATE FUNCTION extend_log(place name, upto bigint) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    first bigint;
    size  bigint;
BEGIN
    EXECUTE format('SELECT range_size FROM %I.head', place) INTO STRICT size;
    LOOP
        EXECUTE format('SELECT coalesce(max(last), 0) + 1 FROM %I.ranges', place) INTO STRICT first;
        EXIT WHEN first > upto;
        EXECUTE format('SELECT %I.make_range(%L, %s)', place, place, first);
        EXECUTE format('ALTER TABLE %1$I.events ATTACH PARTITION %1$I.events_%2$s FOR VALUES FROM (%2$s) TO (%3$s)',
                       place, first, first + size);
        EXECUTE format('INSERT INTO %I.ranges (first, last) VALUES (%s, %s)', place, first, first + size - 1);
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION make_range, extend_log FROM PUBLIC;

-- The log extends itself in good time: whoever appends may not create tables, so this is done with the owner's rights.
CREATE FUNCTION make_room() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('SELECT %I.extend_log(%L, %s)', TG_TABLE_SCHEMA, TG_TABLE_SCHEMA, NEW.position + NEW.range_size);
    RETURN NULL;
END
$$;
REVOKE EXECUTE ON FUNCTION make_room FROM PUBLIC;
CREATE TRIGGER make_room AFTER UPDATE OF position ON head FOR EACH ROW
  WHEN (OLD.position * 2 / NEW.range_size <> NEW.position * 2 / NEW.range_size) EXECUTE FUNCTION make_room();

-- The events that are there are the first range.
INSERT INTO ranges (first, last) SELECT 1, (position / range_size + 1) * range_size FROM head;
DO $$
BEGIN
    EXECUTE (SELECT format('ALTER TABLE events ATTACH PARTITION events_1 FOR VALUES FROM (1) TO (%s)', last + 1) FROM ranges);
END
$$;
