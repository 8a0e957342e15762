-- For each stream: its newest snapshot of a kind, if there is one, and the events after it, in one answer.
SELECT asked.nth, found.*
  FROM unnest((SELECT %(streams)s::text[])) WITH ORDINALITY AS asked (stream, nth)
 CROSS JOIN LATERAL (
    WITH snapshot AS MATERIALIZED (
        SELECT version, data FROM snapshots
         WHERE stream = asked.stream AND type = %(type)s
         ORDER BY version DESC
         LIMIT 1
    )
    SELECT null::bigint, null::text, version, null::uuid, null::text, null::timestamptz, null::timestamptz, data, null::bytea
      FROM snapshot
    UNION ALL
    (SELECT position, stream, version, id, type, time, recorded_at, data, metadata
       FROM events
      WHERE stream = asked.stream AND version > coalesce((SELECT version FROM snapshot), 0)
        AND (SELECT refuse_detached(d.position) FROM detached d
              WHERE d.stream = asked.stream AND d.version > coalesce((SELECT version FROM snapshot), 0) LIMIT 1) IS NULL
      ORDER BY version
      LIMIT %(limit)s)
 ) AS found
