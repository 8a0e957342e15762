SELECT position, stream, version, id, type, time, recorded_at, data, metadata
  FROM events
 WHERE position > %(after)s
   AND (%(prefix)s::text IS NULL OR starts_with(stream, %(prefix)s))
   AND (%(types)s::text[] IS NULL OR type = ANY (%(types)s))
 ORDER BY position
 LIMIT %(limit)s
