-- Appends a batch of commands in one call. Each command is judged alone and gets its own answer, in order.
--
-- A command has a part for each run of events of one stream; no two commands of a batch share a stream. `part_*` and
-- `event_*` are parallel arrays: a part names its command and an event its part, both counted from 1, both ascending.
--   part_expected  the version at which the stream must stand; -1: there must be no stream; null: any
--   part_nth       what is added to the stream's version by its end; 0 without events; null: a later part says it
--   event_nth      what is added to the stream's version for this event
--   keys, trackers null when no command of the batch has one
--
-- outcome: 1 recorded; 2 repeated, with the stored answer; 3 the key belongs to another command;
--          4 wrong expected version: of `part`, whose stream is at `version`; 5 tracked before.
CREATE FUNCTION append_batch(
    part_command   integer[],
    part_stream    text[],
    part_expected  bigint[],
    part_nth       bigint[],
    part_events    integer[],
    event_part     integer[],
    event_nth      bigint[],
    event_id       uuid[],
    event_stream   text[],
    event_type     text[],
    event_time     timestamptz[],
    event_data     bytea[],
    event_metadata bytea[],
    keys           text[],
    fingerprints   bytea[],
    trackers       text[],
    tracked        bigint[]
) RETURNS TABLE (outcome integer, part integer, version bigint, "position" bigint)
LANGUAGE plpgsql
-- A plan must not depend on how small the tables were when the connection first appended.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    base            bigint;
    moment          timestamptz;
    added           bigint;
    standing        bigint[];   -- of each part: the version its stream is at
    reached         bigint[];   -- of each part: the position of its stream's last event, before and then after
    refused         integer[];  -- of each part: its number, if it is not where it is expected
    verdict         integer[];  -- of each command: its outcome
    culprit         integer[];  -- of each command: its first refused part
    first_part      integer[];
    last_part       integer[];
    stored_version  bigint[];
    stored_position bigint[];
BEGIN
    -- This lock makes batches serial: position order is commit order, and what is judged below stays true.
    SELECT h.position, greatest(h.recorded_at, clock_timestamp()) INTO STRICT base, moment FROM head h FOR UPDATE;

    SELECT array_agg(coalesce(s.version, 0) ORDER BY p.n),
           array_agg(coalesce(s.position, 0) ORDER BY p.n),
           array_agg(CASE WHEN p.expected IS NULL
                            OR p.expected = -1 AND s.stream IS NULL
                            OR p.expected = coalesce(s.version, 0) THEN null ELSE p.n END ORDER BY p.n)
      INTO standing, reached, refused
      FROM unnest(part_stream, part_expected) WITH ORDINALITY AS p (stream, expected, n)
      LEFT JOIN streams s ON s.stream = p.stream;

    SELECT array_agg(CASE WHEN c.culprit IS NULL THEN 1 ELSE 4 END ORDER BY c.command),
           array_agg(c.culprit ORDER BY c.command),
           array_agg(c.first ORDER BY c.command),
           array_agg(c.last ORDER BY c.command)
      INTO verdict, culprit, first_part, last_part
      FROM (SELECT p.command, min(p.refused) AS culprit, min(p.n) AS first, max(p.n) AS last
              FROM unnest(part_command, refused) WITH ORDINALITY AS p (command, refused, n)
             GROUP BY p.command) c;

    IF keys IS NOT NULL THEN
        SELECT array_agg(CASE WHEN i.key IS NULL THEN verdict[k.n]
                              WHEN i.fingerprint = k.fingerprint THEN 2 ELSE 3 END ORDER BY k.n),
               array_agg(coalesce(i.version, 0) ORDER BY k.n),
               array_agg(coalesce(i.position, 0) ORDER BY k.n)
          INTO verdict, stored_version, stored_position
          FROM unnest(keys, fingerprints) WITH ORDINALITY AS k (key, fingerprint, n)
          LEFT JOIN idempotency i ON i.key = k.key;
    END IF;

    IF trackers IS NOT NULL THEN
        SELECT array_agg(CASE WHEN verdict[t.n] = 1 AND t.position <= k.position THEN 5 ELSE verdict[t.n] END
                         ORDER BY t.n)
          INTO verdict
          FROM unnest(trackers, tracked) WITH ORDINALITY AS t (application, position, n)
          LEFT JOIN tracking k ON k.application = t.application;
        INSERT INTO tracking (application, position)
        SELECT t.application, t.position
          FROM unnest(trackers, tracked) WITH ORDINALITY AS t (application, position, n)
         WHERE t.application IS NOT NULL AND verdict[t.n] = 1
            ON CONFLICT (application) DO UPDATE SET position = excluded.position;
    END IF;

    INSERT INTO events (position, version, time, recorded_at, id, stream, type, data, metadata)
    SELECT base + row_number() OVER (ORDER BY e.n), standing[e.part] + e.nth, e.time, moment, e.id, e.stream, e.type,
           e.data, e.metadata
      FROM unnest(event_part, event_nth, event_id, event_stream, event_type, event_time, event_data, event_metadata)
           WITH ORDINALITY AS e (part, nth, id, stream, type, time, data, metadata, n)
     WHERE verdict[part_command[e.part]] = 1;
    GET DIAGNOSTICS added = ROW_COUNT;

    SELECT array_agg(CASE WHEN p.events = 0 THEN reached[p.n] ELSE base + p.upto END ORDER BY p.n)
      INTO reached
      FROM (SELECT c.n, c.events, sum(c.events) FILTER (WHERE verdict[c.command] = 1) OVER (ORDER BY c.n) AS upto
              FROM unnest(part_command, part_events) WITH ORDINALITY AS c (command, events, n)) p;

    IF added > 0 THEN
        INSERT INTO streams (stream, version, position)
        SELECT p.stream, standing[p.n] + p.nth, reached[p.n]
          FROM unnest(part_command, part_stream, part_nth, part_events) WITH ORDINALITY
               AS p (command, stream, nth, events, n)
         WHERE p.events > 0 AND p.nth IS NOT NULL AND verdict[p.command] = 1
            ON CONFLICT (stream) DO UPDATE SET version = excluded.version, position = excluded.position;
        UPDATE head h SET position = base + added, recorded_at = moment;
        PERFORM pg_notify(format('%s.events', current_schema()), (base + added)::text);
    END IF;

    IF keys IS NOT NULL THEN
        INSERT INTO idempotency (key, fingerprint, stream, version, position, recorded_at)
        SELECT k.key, k.fingerprint, part_stream[first_part[k.n]],
               standing[first_part[k.n]] + part_nth[first_part[k.n]], reached[last_part[k.n]], moment
          FROM unnest(keys, fingerprints) WITH ORDINALITY AS k (key, fingerprint, n)
         WHERE k.key IS NOT NULL AND verdict[k.n] = 1;
    END IF;

    RETURN QUERY
    SELECT v.outcome, culprit[v.n],
           CASE v.outcome WHEN 1 THEN standing[first_part[v.n]] + coalesce(part_nth[first_part[v.n]], 0)
                          WHEN 2 THEN stored_version[v.n]
                          WHEN 4 THEN standing[culprit[v.n]] ELSE 0 END,
           CASE v.outcome WHEN 1 THEN reached[last_part[v.n]]
                          WHEN 2 THEN stored_position[v.n] ELSE 0 END
      FROM unnest(verdict) WITH ORDINALITY AS v (outcome, n)
     ORDER BY v.n;
END
$$;
REVOKE EXECUTE ON FUNCTION append_batch FROM PUBLIC;
