SELECT position, stream, version, id, type, time, recorded_at, data, metadata
  FROM events
 WHERE position > %(after)s
 ORDER BY position
 LIMIT %(limit)s
