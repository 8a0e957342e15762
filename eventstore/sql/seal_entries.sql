SELECT position, version, time, recorded_at, id, stream, type, data, metadata
  FROM events
 WHERE position > %(after)s
 ORDER BY position
 LIMIT %(limit)s
