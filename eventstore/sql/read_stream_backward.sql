SELECT position, stream, version, id, type, time, recorded_at, data, metadata
  FROM events
 WHERE stream = %(stream)s AND version > %(after)s AND version <= %(until)s AND recorded_at <= %(recorded_until)s
 ORDER BY version DESC
 LIMIT %(limit)s
