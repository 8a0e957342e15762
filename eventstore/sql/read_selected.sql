SELECT position, stream, version, id, type, time, recorded_at, data, metadata
  FROM events
 WHERE position > %(after)s
   AND (SELECT refuse_detached(r.last) FROM ranges r WHERE r.file IS NOT NULL AND r.last > %(after)s LIMIT 1) IS NULL
   AND (%(prefix)s::text IS NULL OR starts_with(stream, %(prefix)s))
   AND (%(types)s::text[] IS NULL OR type = ANY (%(types)s))
 ORDER BY position
 LIMIT %(limit)s
