-- Materialized, so that the search by tags comes before the order by position.
WITH found AS MATERIALIZED (
    SELECT position, stream, version, id, type, time, recorded_at, data, metadata
      FROM events
     WHERE tags(metadata) @> %(tags)s
       AND position('"tags"'::bytea IN metadata) > 0
       AND position > %(after)s
       AND (SELECT refuse_detached(r.last) FROM ranges r WHERE r.file IS NOT NULL AND r.last > %(after)s LIMIT 1) IS NULL
       AND (%(prefix)s::text IS NULL OR starts_with(stream, %(prefix)s))
       AND (%(types)s::text[] IS NULL OR type = ANY (%(types)s))
)
SELECT * FROM found ORDER BY position LIMIT %(limit)s
