-- Materialized, so that the search by id comes before the order by position.
WITH found AS MATERIALIZED (
    SELECT position, stream, version, id, type, time, recorded_at, data, metadata
      FROM events
     WHERE correlation_id(metadata) = %(correlation_id)s
       AND position > %(after)s
       AND (SELECT refuse_detached(r.last) FROM ranges r WHERE r.file IS NOT NULL AND r.last > %(after)s LIMIT 1) IS NULL
       AND (%(prefix)s::text IS NULL OR starts_with(stream, %(prefix)s))
       AND (%(types)s::text[] IS NULL OR type = ANY (%(types)s))
       AND (%(tags)s::text[] IS NULL OR tags(metadata) @> %(tags)s)
)
SELECT * FROM found ORDER BY position LIMIT %(limit)s
