-- Appends a batch whose commands say where their one stream must stand, if all of them are right; returns the position
-- before the first event. Otherwise nothing is written: `append_batch` then judges each command alone.
--
-- `part_*` and `keys` are parallel arrays, a command each; `event_*` are parallel arrays, an event each.
--   part_before  the version at which the stream must stand; 0: there is no stream
--   part_upto    how many events the batch has up to the end of this command
-- A stream or key that exists is a unique violation, a stream that stands elsewhere an error of class HR: neither needs
-- a look beforehand, and that makes this faster.
CREATE FUNCTION append_expected(
    part_stream    text[],
    part_before    bigint[],
    part_after     bigint[],
    part_upto      integer[],
    event_stream   text[],
    event_version  bigint[],
    event_id       uuid[],
    event_type     text[],
    event_time     timestamptz[],
    event_data     bytea[],
    event_metadata bytea[],
    keys           text[],
    fingerprints   bytea[]
) RETURNS bigint
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    added  bigint := cardinality(event_id);
    base   bigint;
    moment timestamptz;
    began  bigint;
    moved  bigint;
BEGIN
    -- This lock makes batches serial, as in `append_batch`.
    UPDATE head h SET position = h.position + added, recorded_at = greatest(h.recorded_at, clock_timestamp())
     RETURNING h.position - added, h.recorded_at INTO STRICT base, moment;

    INSERT INTO streams (stream, version, position)
    SELECT p.stream, p.after, base + p.upto
      FROM unnest(part_stream, part_before, part_after, part_upto) AS p (stream, before, after, upto)
     WHERE p.before = 0;
    GET DIAGNOSTICS began = ROW_COUNT;

    IF began < cardinality(part_stream) THEN
        UPDATE streams s SET version = p.after, position = base + p.upto
          FROM unnest(part_stream, part_before, part_after, part_upto) AS p (stream, before, after, upto)
         WHERE p.before > 0 AND s.stream = p.stream AND s.version = p.before;
        GET DIAGNOSTICS moved = ROW_COUNT;
        IF began + moved < cardinality(part_stream) THEN
            RAISE EXCEPTION 'a stream stands elsewhere' USING ERRCODE = 'HR001';
        END IF;
    END IF;

    INSERT INTO idempotency (key, fingerprint, stream, version, position, recorded_at)
    SELECT k.key, k.fingerprint, k.stream, k.after, base + k.upto, moment
      FROM unnest(keys, fingerprints, part_stream, part_after, part_upto) AS k (key, fingerprint, stream, after, upto)
     WHERE k.key IS NOT NULL;

    INSERT INTO events (position, version, time, recorded_at, id, stream, type, data, metadata)
    SELECT base + e.n, e.version, e.time, moment, e.id, e.stream, e.type, e.data, e.metadata
      FROM unnest(event_version, event_id, event_stream, event_type, event_time, event_data, event_metadata)
           WITH ORDINALITY AS e (version, id, stream, type, time, data, metadata, n);

    PERFORM pg_notify(format('%s.events', current_schema()), (base + added)::text);
    RETURN base;
END
$$;
REVOKE EXECUTE ON FUNCTION append_expected FROM PUBLIC;
